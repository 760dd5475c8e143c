"""A pool of coroutines that breaks one promise of it."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from umbel_kernel.errors import Terminated
from umbel_kernel.spi.pool import Collected, Job, Outcome, Pool, PoolCapability, PoolOptions
from umbel_testkit.pool import PoolConformance


class LoopPool(Pool):
    """Runs coroutines in an event loop, each when it comes, as many as there are; knows nothing of other jobs."""

    capabilities = frozenset({PoolCapability.ASYNC, PoolCapability.TERMINATE})

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._tasks: dict[int, asyncio.Task[Any]] = {}
        self._begun: deque[int] = deque()
        self._ended: deque[Outcome] = deque()

    def open(self, size: int, execute: Callable[[Job], Any], wake: Callable[[], None], options: PoolOptions) -> None:
        self._size, self._wake, self._make = size, wake, options.coroutine
        threading.Thread(target=self._loop.run_forever, daemon=True).start()

    @property
    def size(self) -> int:
        return self._size

    def submit(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            self._loop.call_soon_threadsafe(self._begin, job)

    def _begin(self, job: Job) -> None:
        self._tasks[job.id] = self._loop.create_task(self._run(job))

    async def _run(self, job: Job) -> None:
        assert self._make is not None
        coroutine = self._make(job)
        assert coroutine is not None
        self._begun.append(job.id)
        try:
            outcome = Outcome(job.id, await coroutine)
        except asyncio.CancelledError:
            outcome = Outcome(job.id, error=Terminated("cancelled"))
        self._ended.append(outcome)
        self._wake()

    def withdraw(self, job_ids: Sequence[int]) -> list[int]:
        return []

    def collect(self) -> Collected:
        finished = [self._ended.popleft() for _ in range(len(self._ended))]
        return Collected([self._begun.popleft() for _ in range(len(self._begun))], finished)

    def cancel(self, job_id: int, signal: str = "TERM") -> bool:
        task = self._tasks.get(job_id)
        if task is None or task.done():
            return False
        self._loop.call_soon_threadsafe(task.cancel)
        return True

    def close(self) -> None:
        """It takes whatever comes."""

    def terminate(self, *, timeout: float = 5.0) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)


class LoopCase(PoolConformance):
    patience = 2.0
    many = 50


class TestKeepsItsLoop(LoopCase):
    pool_class = LoopPool


class TestOneAfterTheOther(LoopCase):
    must_fail = "test_coroutines_run_side_by_side"

    class pool_class(LoopPool):
        def _begin(self, job: Job) -> None:
            if any(not task.done() for task in self._tasks.values()):
                self._loop.call_later(0.01, self._begin, job)
            else:
                super()._begin(job)


class TestMoreThanThereAreSlots(LoopCase):
    must_fail = "test_as_many_coroutines_run_as_there_are_slots"
    pool_class = LoopPool


class TestDiesOfAnError(LoopCase):
    must_fail = "test_an_error_of_a_coroutine_is_an_outcome"
    pool_class = LoopPool


class TestWaitsForWhoSwallows(LoopCase):
    must_fail = "test_who_swallows_a_cancellation_gives_up_the_slot"
    pool_class = LoopPool


class TestEndsWithAnExit(LoopCase):
    must_fail = "test_an_exit_beside_a_coroutine_leaves_the_loop"
    pool_class = LoopPool
