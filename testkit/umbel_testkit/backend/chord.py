"""Chords: counting the members of a header."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from umbel_kernel.errors import NotSupported
from umbel_kernel.spi.backend import Backend, BackendCapability, ChordPart
from umbel_testkit.backend.case import BackendCase, MakeBackend
from umbel_testkit.background import together


class ChordSuite(BackendCase):
    """Counting the members of a chord's header."""

    @staticmethod
    def parts(size: int) -> list[ChordPart]:
        """The parts of one new header; bodies hold any bytes."""
        group_id = str(uuid.uuid4())
        return [
            ChordPart(
                group_id, index, size, str(uuid.uuid4()), "SUCCESS", b"\x00\xff %d" % index, 600.0, f"run {index}"
            )
            for index in range(size)
        ]

    @staticmethod
    def bodies(parts: Sequence[ChordPart]) -> list[bytes]:
        """What the completing caller gets."""
        return [part.body for part in parts]

    @staticmethod
    def again(part: ChordPart, **changes: Any) -> ChordPart:
        """The same member's part out of another run."""
        return replace(part, run=str(uuid.uuid4()), **changes)

    @staticmethod
    def count(backend: Backend, part: ChordPart) -> list[bytes] | None:
        """Count one part; the bodies of all when it is its run's to end the chord."""
        (mine,) = backend.chord_parts([part])
        return backend.chord_bodies(part) if mine else None

    @staticmethod
    def end(backend: Backend, part: ChordPart) -> bool:
        """Say that what follows the header was published by the run of this part."""
        return backend.chord_end(part.group_id, part.run, expires=600.0)

    def test_a_header_of_one(self, writer: Backend) -> None:
        self.need(writer, BackendCapability.CHORDS)
        (part,) = self.parts(1)
        assert self.count(writer, part) == [part.body]
        assert self.end(writer, part)
        assert self.count(writer, part) is None

    def test_the_end_of_what_was_never_counted_belongs_to_who_asks_first(self, writer: Backend) -> None:
        self.need(writer, BackendCapability.CHORDS)
        (part,) = self.parts(1)
        first = replace(part, group_id=f"{part.group_id}:sent:0")
        second = replace(first, run="another")
        asked = [self.end(writer, each) for each in (first, second, first, second)]
        assert asked == [True, False, True, False]

    def test_the_last_part_brings_all_in_order(self, writer: Backend) -> None:
        self.need(writer, BackendCapability.CHORDS)
        parts = self.parts(12)
        ended = parts[:]
        random.Random(5).shuffle(ended)
        assert [self.count(writer, part) for part in ended[:-1]] == [None] * 11
        assert self.count(writer, ended[-1]) == self.bodies(parts)

    def test_parts_in_one_batch_count_as_one_after_the_other(self, writer: Backend) -> None:
        self.need(writer, BackendCapability.CHORDS)
        first, second, third = self.parts(3), self.parts(2), self.parts(1)
        batch = [first[0], second[1], first[2], first[0], second[0], third[0], second[1], first[1], first[0]]
        told = [False, False, False, False, True, True, False, True, False]
        assert writer.chord_parts([]) == []
        assert writer.chord_parts(batch) == told
        assert writer.chord_parts(batch) == told, "a batch that is repeated is told the same"
        assert [writer.chord_bodies(part) for part in (first[1], second[0], third[0])] == [
            self.bodies(parts) for parts in (first, second, third)
        ]

    def test_a_batch_of_many_parts(self, writer: Backend) -> None:
        self.need(writer, BackendCapability.CHORDS)
        parts = self.parts(1200)
        assert writer.chord_parts(parts) == [False] * 1199 + [True]
        assert writer.chord_bodies(parts[-1]) == self.bodies(parts)

    def test_bodies_are_for_the_run_that_was_told_last_until_the_end(self, writer: Backend, reader: Backend) -> None:
        self.need(writer, BackendCapability.CHORDS)
        parts = self.parts(2)
        assert writer.chord_parts(parts) == [False, True]
        assert [reader.chord_bodies(part) for part in parts] == [None, self.bodies(parts)]
        second = self.again(parts[1])
        assert reader.chord_parts([second]) == [True]
        assert [writer.chord_bodies(part) for part in (parts[1], second)] == [None, self.bodies(parts)]
        assert self.end(reader, second)
        assert [writer.chord_bodies(part) for part in (*parts, second)] == [None] * 3

    def test_a_part_that_ends_twice_counts_once(self, writer: Backend) -> None:
        self.need(writer, BackendCapability.CHORDS)
        parts = self.parts(3)
        assert [self.count(writer, part) for part in (parts[0], parts[0], parts[2], parts[0])] == [None] * 4
        assert self.count(writer, parts[1]) == self.bodies(parts)

    def test_parts_after_the_end_bring_nothing(self, writer: Backend) -> None:
        self.need(writer, BackendCapability.CHORDS)
        parts = self.parts(3)
        assert [self.count(writer, part) is None for part in parts] == [True, True, False]
        assert self.end(writer, parts[2])
        assert [self.count(writer, part) for part in parts * 2] == [None] * 6
        assert [self.count(writer, self.again(part)) for part in parts] == [None] * 3

    def test_the_last_member_brings_all_again_until_the_end(self, writer: Backend, reader: Backend) -> None:
        self.need(writer, BackendCapability.CHORDS)
        parts = self.parts(3)
        assert [self.count(writer, part) is None for part in parts] == [True, True, False]
        assert self.count(reader, self.again(parts[2])) == self.bodies(parts)
        assert self.count(reader, self.again(parts[2], body=b"another", fence=7)) == self.bodies(parts)
        assert [self.count(reader, self.again(part)) for part in parts[:2]] == [None] * 2

    def test_the_same_run_is_told_the_same_again(self, writer: Backend) -> None:
        self.need(writer, BackendCapability.CHORDS)
        parts = self.parts(2)
        assert self.count(writer, parts[0]) is None
        assert self.count(writer, parts[0]) is None
        assert [self.count(writer, parts[1]) for _ in range(2)] == [self.bodies(parts)] * 2

    def test_one_run_counts(self, writer: Backend, reader: Backend) -> None:
        self.need(writer, BackendCapability.CHORDS)
        (part,) = self.parts(1)
        second = self.again(part)
        assert self.count(writer, part) == self.count(reader, second) == [part.body]
        assert [self.end(backend, each) for backend in (reader, writer) for each in (second, part, second)] == [
            True, False, True, True, False, True,
        ]  # fmt: skip

    def test_a_header_that_is_begun_again_is_counted_anew(self, writer: Backend) -> None:
        self.need(writer, BackendCapability.CHORDS)
        parts = self.parts(2)
        for _ in range(2):
            writer.begin_chord(parts[0].group_id, 2, expires=600.0)
            mine = [self.again(part) for part in parts]
            assert [self.count(writer, part) for part in mine] == [None, self.bodies(parts)]
            assert self.end(writer, mine[1])

    @pytest.mark.parametrize(
        ("first", "second", "kept"),
        [
            (("FAILURE", 0), ("SUCCESS", 0), 1),
            (("SUCCESS", 0), ("FAILURE", 1), 0),
            (("SUCCESS", 1), ("SUCCESS", 0), 0),
            (("FAILURE", 0), ("FAILURE", 1), 1),
            (("FAILURE", 2), ("FAILURE", 1), 0),
        ],
    )
    def test_of_two_runs_of_a_member_that_counts_which_the_store_keeps(
        self, writer: Backend, first: tuple[str, int], second: tuple[str, int], kept: int
    ) -> None:
        self.need(writer, BackendCapability.CHORDS)
        member, other = self.parts(2)
        runs = [
            self.again(member, state=state, fence=fence, body=b"%s %d" % (state.encode(), fence))
            for state, fence in (first, second)
        ]
        assert [self.count(writer, run) for run in runs] == [None, None]
        assert self.count(writer, other) == [runs[kept].body, other.body]

    def test_chords_are_kept_apart(self, writer: Backend) -> None:
        self.need(writer, BackendCapability.CHORDS)
        first, second = self.parts(2), self.parts(2)
        assert self.count(writer, first[0]) is None
        assert self.count(writer, second[1]) is None
        assert self.count(writer, second[0]) == self.bodies(second)
        assert self.count(writer, first[1]) == self.bodies(first)

    def test_a_large_header(self, writer: Backend) -> None:
        self.need(writer, BackendCapability.CHORDS)
        parts = self.parts(300)
        found = [self.count(writer, part) for part in parts]
        assert found == [None] * 299 + [self.bodies(parts)]

    @pytest.mark.parametrize("objects", [1, 8], ids=["one backend", "a backend a thread"])
    def test_exactly_one_caller_of_many_threads_completes(self, connect: MakeBackend, objects: int) -> None:
        backends = [connect() for _ in range(objects)]
        self.need(backends[0], BackendCapability.CHORDS)
        for turn in range(5):
            parts = self.parts(16)

            def worker(
                number: int, parts: list[ChordPart] = parts, turn: int = turn
            ) -> Callable[[], list[tuple[ChordPart, list[bytes] | None]]]:
                backend = backends[number % objects]
                mine = [parts[number], parts[number + 8], self.again(parts[(number + 1) % 8])]
                mine.append(self.again(parts[(number + 3) % 16]))
                random.Random(turn * 8 + number).shuffle(mine)
                return lambda: [(part, self.count(backend, part)) for part in mine]

            found = together([worker(number) for number in range(8)], within=self.patience * 2)
            told = [(part, bodies) for answers in found for part, bodies in answers if bodies is not None]
            members = {part.index for part, _ in told}
            assert len(members) == 1, f"{len(members)} members were told that the header is complete"
            assert [bodies for _, bodies in told] == [self.bodies(parts)] * len(told)
            ends = [partial(self.end, backends[0], part) for part, _ in told]
            counts = together(ends, within=self.patience)
            assert counts.count(True) == 1, f"{counts.count(True)} runs count"

    def test_what_is_added_counts_and_comes_last(self, writer: Backend, reader: Backend) -> None:
        self.need(writer, BackendCapability.CHORD_GROWTH)
        parts = self.parts(2)
        group_id = parts[0].group_id
        writer.begin_chord(group_id, 2, expires=600.0)

        def add(backend: Backend, member: str) -> int | None:
            return backend.chord_add(group_id, 2, member, expires=600.0)

        assert self.count(writer, parts[0]) is None
        assert [add(writer, "a"), add(reader, "b"), add(reader, "a")] == [2, 3, 2]
        added = [self.again(parts[0], index=index, task_id=str(index), body=b"%d" % index) for index in (3, 2)]
        assert [self.count(writer, part) for part in (added[0], parts[1])] == [None, None]
        assert self.count(reader, added[1]) == [*self.bodies(parts), b"2", b"3"]
        assert add(writer, "late") is None
        assert self.end(writer, added[1])
        assert add(writer, "late") is None

    def test_additions_are_refused_when_not_claimed(self, writer: Backend) -> None:
        if BackendCapability.CHORD_GROWTH in writer.capabilities:
            pytest.skip(f"{type(writer).__name__} declares CHORD_GROWTH")
        with pytest.raises(NotSupported):
            writer.chord_add(str(uuid.uuid4()), 1, "a", expires=600.0)

    def test_chords_are_refused_when_not_claimed(self, writer: Backend) -> None:
        if BackendCapability.CHORDS in writer.capabilities:
            pytest.skip(f"{type(writer).__name__} declares CHORDS")
        (part,) = self.parts(1)
        with pytest.raises(NotSupported):
            writer.chord_parts([part])
        with pytest.raises(NotSupported):
            writer.chord_bodies(part)
        with pytest.raises(NotSupported):
            self.end(writer, part)
