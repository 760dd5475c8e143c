"""Waiting for results."""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Callable

import pytest

from umbel_kernel.spi.backend import READY_STATES, Backend, BackendCapability
from umbel_testkit.backend.case import BackendCase
from umbel_testkit.background import Background
from umbel_testkit.waiting import Stopwatch

A_MOMENT = 0.1
NewIds = Callable[[int], list[str]]


class WaitingSuite(BackendCase):
    """Waiting for results."""

    def test_timeout_0_just_looks(self, reader: Backend, writer: Backend, new_ids: NewIds) -> None:
        done, missing = new_ids(2)
        with Stopwatch() as watch:
            assert reader.wait([missing], timeout=0) == {}
        assert watch.seconds < 1.0
        writer.store([self.record(reader, done, "SUCCESS")])
        self.states(reader, [done], ["SUCCESS"])
        assert list(reader.wait([missing, done], timeout=0)) == [done]

    def test_a_short_timeout_is_kept(self, reader: Backend, task_id: str) -> None:
        with Stopwatch() as watch:
            assert reader.wait([task_id], timeout=0.5) == {}
        assert 0.45 <= watch.seconds < 1.5

    @pytest.mark.parametrize("state", sorted(READY_STATES))
    def test_what_is_ready_comes_at_once(self, reader: Backend, writer: Backend, task_id: str, state: str) -> None:
        record = self.record(reader, task_id, state, "done")
        writer.store([record])
        found = reader.wait([task_id], timeout=self.patience)
        assert {name: (of.state, of.body) for name, of in found.items()} == {task_id: (state, record.body)}

    @pytest.mark.parametrize("timeout", [None, 30.0], ids=["without limit", "30 s"])
    def test_a_store_ends_the_wait(self, reader: Backend, writer: Backend, task_id: str, timeout: float | None) -> None:
        waiting = Background(lambda: reader.wait([task_id], timeout=timeout))
        time.sleep(A_MOMENT)
        assert not waiting.done
        writer.store([self.record(reader, task_id, "SUCCESS", 42)])
        assert waiting.result(within=self.patience)[task_id].state == "SUCCESS"

    def test_a_store_by_the_same_object_ends_the_wait(self, reader: Backend, task_id: str) -> None:
        waiting = Background(lambda: reader.wait([task_id], timeout=None))
        time.sleep(A_MOMENT)
        reader.store([self.record(reader, task_id, "FAILURE")])
        assert waiting.result(within=self.patience)[task_id].state == "FAILURE"

    def test_push_is_quick(self, reader: Backend, writer: Backend, new_ids: NewIds) -> None:
        self.need(reader, BackendCapability.PUSH)
        took: list[float] = []
        for task_id in new_ids(5):
            waiting = Background(functools.partial(self._told, reader, task_id))
            time.sleep(A_MOMENT)
            stored = time.monotonic()
            writer.store([self.record(reader, task_id, "SUCCESS")])
            took.append(waiting.result(within=self.patience) - stored)
        assert sorted(took)[2] < 0.1, f"told after {took} s; a store that pushes is quicker"

    @staticmethod
    def _told(reader: Backend, task_id: str) -> float:
        reader.wait([task_id], timeout=30.0)
        return time.monotonic()

    def test_progress_does_not_end_the_wait(self, reader: Backend, writer: Backend, task_id: str) -> None:
        writer.store([self.record(reader, task_id, "STARTED")])
        waiting = Background(lambda: reader.wait([task_id], timeout=30.0))
        writer.store([self.record(reader, task_id, "RETRY")])
        time.sleep(self.quiet)
        assert not waiting.done
        writer.store([self.record(reader, task_id, "SUCCESS")])
        assert waiting.result(within=self.patience)[task_id].state == "SUCCESS"

    def test_all_that_are_ready_come(self, reader: Backend, writer: Backend, new_ids: NewIds) -> None:
        first, second, running, missing = new_ids(4)
        writer.store(
            [
                self.record(reader, running, "STARTED"),
                self.record(reader, first, "SUCCESS"),
                self.record(reader, second, "FAILURE"),
            ]
        )
        self.states(reader, [first, second], ["SUCCESS", "FAILURE"])
        found = reader.wait([missing, second, running, first], timeout=self.patience)
        assert {name: record.state for name, record in found.items()} == {first: "SUCCESS", second: "FAILURE"}

    def test_waiting_again_finds_it_again(self, reader: Backend, writer: Backend, task_id: str) -> None:
        writer.store([self.record(reader, task_id, "SUCCESS")])
        for _ in range(3):
            assert list(reader.wait([task_id], timeout=self.patience)) == [task_id]
        self.states(reader, [task_id], ["SUCCESS"])

    def test_every_waiter_is_told(self, reader: Backend, writer: Backend, task_id: str) -> None:
        waiting = [Background(lambda: reader.wait([task_id], timeout=30.0)) for _ in range(5)]
        time.sleep(A_MOMENT)
        writer.store([self.record(reader, task_id, "SUCCESS")])
        assert [list(one.result(within=self.patience)) for one in waiting] == [[task_id]] * 5

    def test_waiters_do_not_take_from_each_other(self, reader: Backend, writer: Backend, new_ids: NewIds) -> None:
        ids = new_ids(10)
        waiting = [Background(functools.partial(reader.wait, [one], timeout=30.0)) for one in ids]
        everything = Background(lambda: self._all(reader, ids))
        for task_id in reversed(ids):
            writer.store([self.record(reader, task_id, "SUCCESS")])
        assert [list(one.result(within=self.patience)) for one in waiting] == [[one] for one in ids]
        assert everything.result(within=self.patience) == set(ids)

    def _all(self, reader: Backend, ids: list[str]) -> set[str]:
        left = set(ids)
        while left:
            found = reader.wait(sorted(left), timeout=self.patience)
            assert found, f"{len(left)} results did not come"
            left -= set(found)
        return set(ids) - left

    def test_many_results_one_after_another(self, reader: Backend, writer: Backend, new_ids: NewIds) -> None:
        ids = new_ids(200)
        everything = Background(lambda: self._all(reader, ids))
        for start in range(0, 200, 20):
            writer.store([self.record(reader, task_id, "SUCCESS") for task_id in ids[start : start + 20]])
        assert everything.result(within=self.patience * 2) == set(ids)

    def test_a_result_of_nobody_waiting_is_harmless(self, reader: Backend, writer: Backend, task_id: str) -> None:
        writer.store([self.record(reader, str(uuid.uuid4()), "SUCCESS")])
        writer.store([self.record(reader, task_id, "SUCCESS")])
        assert list(reader.wait([task_id], timeout=self.patience)) == [task_id]
