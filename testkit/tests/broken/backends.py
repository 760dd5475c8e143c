"""Backends that each break one promise that the memory backend keeps."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest

from umbel_backend_memory import MemoryBackend
from umbel_kernel.spi.backend import READY_STATES, ChordPart, Record
from umbel_kernel.url import URL
from umbel_testkit.backend import BackendConformance, json_state_of


class BackendCase(BackendConformance):
    patience = 1.0
    quiet = 0.05
    brief = 0.2
    backend_class: type[MemoryBackend] = MemoryBackend

    @pytest.fixture
    def make_backend(self) -> Callable[[], MemoryBackend]:
        return lambda: self.backend_class(URL.parse("memory://broken"), state_of=json_state_of)


class TestReplacesSuccess(BackendCase):
    must_fail = "test_the_first_success_stays"

    class backend_class(MemoryBackend):
        def store(self, records: Sequence[Record], *, timeout: float = 5.0) -> None:
            self.forget([record.task_id for record in records])
            super().store(records)


class TestForgetsTheFence(BackendCase):
    must_fail = "test_a_lower_fence_comes_too_late"

    class backend_class(MemoryBackend):
        def store(self, records: Sequence[Record], *, timeout: float = 5.0) -> None:
            super().store([replace(record, fence=0) for record in records])


class TestLosesTheFenceInABatch(BackendCase):
    must_fail = "test_a_lower_fence_comes_too_late_within_a_batch"

    class backend_class(MemoryBackend):
        def store(self, records: Sequence[Record], *, timeout: float = 5.0) -> None:
            fences = {record.task_id: record.fence for record in records}
            super().store([replace(record, fence=fences[record.task_id]) for record in records])


class TestReplacesSuccessInABatch(BackendCase):
    must_fail = "test_the_first_success_stays_within_a_batch"

    class backend_class(MemoryBackend):
        def store(self, records: Sequence[Record], *, timeout: float = 5.0) -> None:
            super().store(list({record.task_id: record for record in records}.values()))


class TestEndsTheWaitOnProgress(BackendCase):
    must_fail = "test_all_that_are_ready_come"

    class backend_class(MemoryBackend):
        def wait(self, task_ids: Sequence[str], *, timeout: float | None) -> dict[str, Record]:
            return self.fetch(task_ids) or super().wait(task_ids, timeout=timeout)


class TestTakesFromOtherWaiters(BackendCase):
    must_fail = "test_every_waiter_is_told"

    class backend_class(MemoryBackend):
        def wait(self, task_ids: Sequence[str], *, timeout: float | None) -> dict[str, Record]:
            found = super().wait(task_ids, timeout=None if timeout is None else min(timeout, 1.0))
            with lock:
                taken = {name: record for name, record in found.items() if name not in seen}
                seen.update(taken)
            return taken


seen: set[str] = set()
lock = threading.Lock()


class TestNeverTellsWaiters(BackendCase):
    must_fail = "test_a_store_ends_the_wait"

    class backend_class(MemoryBackend):
        def wait(self, task_ids: Sequence[str], *, timeout: float | None) -> dict[str, Record]:
            found = self.fetch(task_ids)
            ready = {name: record for name, record in found.items() if record.state in READY_STATES}
            if not ready and timeout != 0:
                threading.Event().wait(5.0 if timeout is None else min(timeout, 5.0))
            return ready


class TestKeepsWhatHasExpired(BackendCase):
    must_fail = "test_what_has_expired_is_gone"

    class backend_class(MemoryBackend):
        def store(self, records: Sequence[Record], *, timeout: float = 5.0) -> None:
            super().store([replace(record, expires=None) for record in records])


class TestInventsRecords(BackendCase):
    must_fail = "test_what_is_not_known_is_left_out"

    class backend_class(MemoryBackend):
        def fetch(self, task_ids: Sequence[str], *, timeout: float = 5.0) -> dict[str, Record]:
            return {task_id: Record(task_id, "PENDING", b"{}") for task_id in task_ids} | super().fetch(task_ids)


class PartByPart(MemoryBackend):
    """Counts by a method for one part, which the others break; it brings the bodies to who is to end the chord."""

    def chord_parts(self, parts: Sequence[ChordPart], *, timeout: float = 5.0) -> list[bool]:
        for part in parts:
            answers[part.group_id, part.run] = self.chord_part(part)
        return [answers[part.group_id, part.run] is not None for part in parts]

    def chord_bodies(self, part: ChordPart, *, timeout: float = 5.0) -> list[bytes] | None:
        return answers.get((part.group_id, part.run))

    def chord_part(self, part: ChordPart) -> list[bytes] | None:
        (mine,) = super().chord_parts([part])
        return super().chord_bodies(part) if mine else None


class TestCountsPartsTwice(BackendCase):
    must_fail = "test_a_part_that_ends_twice_counts_once"

    class backend_class(PartByPart):
        def chord_part(self, part: ChordPart) -> list[bytes] | None:
            with lock:
                parts.setdefault(part.group_id, []).append(part.body)
                return parts[part.group_id] if len(parts[part.group_id]) == part.size else None


class TestCompletesForEverybodyAfter(BackendCase):
    must_fail = "test_parts_after_the_end_bring_nothing"

    class backend_class(PartByPart):
        def chord_part(self, part: ChordPart) -> list[bytes] | None:
            with lock:
                by_index = indexed.setdefault(part.group_id, {})
                by_index[part.index] = part.body
                return [by_index[index] for index in sorted(by_index)] if len(by_index) == part.size else None


class TestBringsPartsInOrderOfArrival(BackendCase):
    must_fail = "test_the_last_part_brings_all_in_order"

    class backend_class(PartByPart):
        def chord_part(self, part: ChordPart) -> list[bytes] | None:
            found = super().chord_part(part)
            with lock:
                arrived = parts.setdefault(part.group_id, [])
                arrived.append(part.body)
                return found and arrived


class TestCountsWithoutALock(BackendCase):
    must_fail = "test_exactly_one_caller_of_many_threads_completes"

    class backend_class(PartByPart):
        def chord_part(self, part: ChordPart) -> list[bytes] | None:
            by_index = indexed.setdefault(part.group_id, {})
            if len(by_index) >= part.size:
                return None
            by_index[part.index] = part.body
            threading.Event().wait(0.002)
            return [by_index[index] for index in sorted(by_index)] if len(by_index) == part.size else None


class TestForgetsWhoCompleted(BackendCase):
    must_fail = "test_the_last_member_brings_all_again_until_the_end"

    class backend_class(PartByPart):
        def chord_part(self, part: ChordPart) -> list[bytes] | None:
            found = super().chord_part(part)
            with lock:
                first = part.group_id not in told
                told.update([part.group_id] if found is not None else [])
                return found if first else None


class TestBringsAllToAnyMemberUntilTheEnd(BackendCase):
    must_fail = "test_the_last_member_brings_all_again_until_the_end"

    class backend_class(PartByPart):
        def chord_part(self, part: ChordPart) -> list[bytes] | None:
            chord = self._store.chords.get(part.group_id, 0)
            if chord is not None:
                chord.claim = None
            return super().chord_part(part)


class TestTellsOnlyTheLastOfABatch(BackendCase):
    must_fail = "test_parts_in_one_batch_count_as_one_after_the_other"

    class backend_class(MemoryBackend):
        def chord_parts(self, parts: Sequence[ChordPart], *, timeout: float = 5.0) -> list[bool]:
            told = super().chord_parts(parts)
            return [False] * (len(parts) - 1) + told[-1:]


class TestGivesTheBodiesToAnybody(BackendCase):
    must_fail = "test_bodies_are_for_the_run_that_was_told_last_until_the_end"

    class backend_class(MemoryBackend):
        def chord_bodies(self, part: ChordPart, *, timeout: float = 5.0) -> list[bytes] | None:
            chord = self._store.chords.get(part.group_id, 0)
            return None if chord is None else [chord.parts[index].body for index in sorted(chord.parts)]


class TestLetsEveryRunCount(BackendCase):
    must_fail = "test_one_run_counts"

    class backend_class(MemoryBackend):
        def chord_end(self, group_id: str, run: str, *, expires: float | None, timeout: float = 5.0) -> bool:
            super().chord_end(group_id, run, expires=expires)
            return True


class TestEndsOnlyWhatItCounted(BackendCase):
    must_fail = "test_the_end_of_what_was_never_counted_belongs_to_who_asks_first"

    class backend_class(MemoryBackend):
        def chord_end(self, group_id: str, run: str, *, expires: float | None, timeout: float = 5.0) -> bool:
            counted = self._store.chords.get(group_id, self._clock.monotonic()) is not None
            return counted and super().chord_end(group_id, run, expires=expires)


class TestNeverCountsAnew(BackendCase):
    must_fail = "test_a_header_that_is_begun_again_is_counted_anew"

    class backend_class(MemoryBackend):
        def begin_chord(self, group_id: str, size: int, *, expires: float | None, timeout: float = 5.0) -> None:
            pass


class TestKeepsTheLastRunOfAMember(BackendCase):
    must_fail = "test_of_two_runs_of_a_member_that_counts_which_the_store_keeps"

    class backend_class(PartByPart):
        def chord_part(self, part: ChordPart) -> list[bytes] | None:
            chord = self._store.chords.get(part.group_id, 0)
            if chord is not None and chord.claim is None:
                chord.parts.pop(part.index, None)
            return super().chord_part(part)


class TestAddsAMemberTwice(BackendCase):
    must_fail = "test_what_is_added_counts_and_comes_last"

    class backend_class(MemoryBackend):
        def chord_add(
            self, group_id: str, size: int, member: str, *, expires: float | None, timeout: float = 5.0
        ) -> int | None:
            return super().chord_add(group_id, size, f"{member} {uuid.uuid4()}", expires=expires)


told: set[str] = set()
answers: dict[tuple[str, str], list[bytes] | None] = {}
parts: dict[str, list[bytes]] = {}
indexed: dict[str, dict[int, bytes]] = {}


class TestMixesGroupsAndTasks(BackendCase):
    must_fail = "test_groups_and_tasks_are_kept_apart"

    class backend_class(MemoryBackend):
        def store_group(self, group_id: str, body: bytes, *, expires: float | None, timeout: float = 5.0) -> None:
            self.store([Record(group_id, "SUCCESS", body)])

        def fetch_group(self, group_id: str, *, timeout: float = 5.0) -> bytes | None:
            found = self.fetch([group_id]).get(group_id)
            return found and found.body


class TestForgetsReadyOnly(BackendCase):
    must_fail = "test_forget_drops_ready_and_not_ready"

    class backend_class(MemoryBackend):
        def forget(self, task_ids: Sequence[str], *, timeout: float = 5.0) -> None:
            super().forget([name for name, record in self.fetch(task_ids).items() if record.state in READY_STATES])


class TestPollsAndClaimsToPush(BackendCase):
    must_fail = "test_push_is_quick"

    class backend_class(MemoryBackend):
        def wait(self, task_ids: Sequence[str], *, timeout: float | None) -> dict[str, Record]:
            while not (found := super().wait(task_ids, timeout=0)):
                threading.Event().wait(0.4)
            return found
