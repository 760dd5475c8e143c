"""A pool that forks a process a job, and pools that each break one promise of it."""

from __future__ import annotations

import contextlib
import marshal
import os
import queue
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from umbel_kernel.errors import SoftTimeLimitExceeded, Terminated, TimeLimitExceeded, WorkerLostError
from umbel_kernel.spi.pool import Collected, Job, Outcome, Pool, PoolCapability, PoolOptions
from umbel_testkit.pool import PoolConformance


class ForkPool(Pool):
    """The simplest pool that keeps the contract: every job has a process of its own."""

    capabilities = frozenset(
        {
            PoolCapability.SOFT_TIME_LIMIT,
            PoolCapability.HARD_TIME_LIMIT,
            PoolCapability.TERMINATE,
            PoolCapability.RECYCLE,
            PoolCapability.RESIZE,
            PoolCapability.PROCESSES,
        }
    )

    def __init__(self) -> None:
        self._size = 0
        self._waiting: deque[Job] = deque()
        self._running: dict[int, tuple[int, float | None, Job]] = {}
        self._verdicts: dict[int, Exception] = {}
        self._begun: list[int] = []
        self._ended: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
        self._dead = False

    def open(self, size: int, execute: Callable[[Job], Any], wake: Callable[[], None], options: PoolOptions) -> None:
        self._size, self._execute, self._wake, self._options = size, execute, wake, options

    @property
    def size(self) -> int:
        return self._size

    def submit(self, jobs: Sequence[Job]) -> None:
        self._waiting.extend(jobs)
        self._fill()

    def withdraw(self, job_ids: Sequence[int]) -> list[int]:
        asked = set(job_ids)
        found = [job.id for job in self._waiting if job.id in asked]
        self._waiting = deque(job for job in self._waiting if job.id not in asked)
        return found

    def collect(self) -> Collected:
        for job_id, (pid, due, job) in self._running.items():
            if due is not None and due <= time.monotonic() and job_id not in self._verdicts:
                self._verdicts[job_id] = TimeLimitExceeded(job.hard_limit)
                os.kill(pid, signal.SIGKILL)
        finished: list[Outcome] = []
        with contextlib.suppress(queue.Empty):
            while True:
                outcome = self._ended.get_nowait()
                pid, _, _ = self._running.pop(outcome.job_id)
                os.waitpid(pid, 0)
                error = self._verdicts.pop(outcome.job_id, outcome.error)
                finished.append(Outcome(outcome.job_id, None if error else outcome.value, error))
        self._fill()
        begun, self._begun = self._begun, []
        return Collected(begun, finished)

    def next_check(self) -> float | None:
        due = [due for _, due, _ in self._running.values() if due is not None]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def cancel(self, job_id: int, signal: str = "TERM") -> bool:
        if job_id not in self._running:
            return False
        self._verdicts[job_id] = Terminated(signal)
        os.kill(self._running[job_id][0], number(signal))
        return True

    def grow(self, count: int = 1) -> None:
        self._size += count
        self._fill()

    def shrink(self, count: int = 1) -> None:
        self._size -= count

    def close(self) -> None:
        pass

    def terminate(self, *, timeout: float = 5.0) -> None:
        self._dead = True
        self._waiting.clear()
        for pid, _, _ in self._running.values():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        self._running.clear()

    def _fill(self) -> None:
        while self._waiting and len(self._running) < self._size and not self._dead:
            job = self._waiting.popleft()
            reading, writing = os.pipe()
            pid = os.fork()
            if not pid:
                self._child(job, writing)
            os.close(writing)
            due = None if job.hard_limit is None else time.monotonic() + job.hard_limit
            self._running[job.id] = (pid, due, job)
            self._begun.append(job.id)
            threading.Thread(target=self._read, args=(job.id, reading), daemon=True).start()

    def _child(self, job: Job, writing: int) -> None:
        code = 1
        try:
            if self._options.initialize is not None:
                self._options.initialize()
            if job.soft_limit is not None:
                signal.signal(signal.SIGALRM, lambda *_: self._soft(job))
                signal.setitimer(signal.ITIMER_REAL, job.soft_limit)
            value = self._execute(job)
            signal.setitimer(signal.ITIMER_REAL, 0)
            with open(writing, "wb") as pipe:
                pipe.write(marshal.dumps(value))
            if self._options.finalize is not None:
                self._options.finalize()
            code = 0
        finally:
            os._exit(code)

    def _soft(self, job: Job) -> None:
        raise SoftTimeLimitExceeded(job.soft_limit)

    def _read(self, job_id: int, reading: int) -> None:
        with open(reading, "rb") as pipe:
            data = pipe.read()
        if data:
            self._ended.put(Outcome(job_id, marshal.loads(data)))
        else:
            self._ended.put(Outcome(job_id, error=WorkerLostError(f"the process of job {job_id} went away")))
        self._wake()


def number(name: str) -> int:
    return int(signal.Signals[f"SIG{name}"])


class PoolCase(PoolConformance):
    patience = 1.5
    quiet = 0.1
    many = 100  # a fork a job


class TestKeepsAll(PoolCase):
    pool_class = ForkPool
    patience = 20.0


class TestNeverWakes(PoolCase):
    must_fail = "test_the_pool_wakes_the_loop"

    class pool_class(ForkPool):
        def open(self, size: int, execute: Any, wake: Any, options: PoolOptions) -> None:
            super().open(size, execute, lambda: None, options)


class TestHasADescriptorWatchedThatTellsNothing(PoolCase):
    must_fail = "test_a_descriptor_that_is_watched_stands_in_for_a_wake"

    class pool_class(ForkPool):
        def watched(self, by: Callable[[int], bool]) -> bool:
            self._wake = lambda: None
            return by(os.pipe()[0])


class TestTellsStartTwice(PoolCase):
    must_fail = "test_beginning_is_told_once_and_in_time"

    class pool_class(ForkPool):
        def collect(self) -> Collected:
            found = super().collect()
            found.started += [job_id for job_id in self._running if job_id not in found.started]
            return found


class TestRunsTooMany(PoolCase):
    must_fail = "test_as_many_run_as_there_are_slots"

    class pool_class(ForkPool):
        def open(self, size: int, execute: Any, wake: Any, options: PoolOptions) -> None:
            super().open(size + 1, execute, wake, options)

        @property
        def size(self) -> int:
            return super().size - 1


class TestWithdrawsInName(PoolCase):
    must_fail = "test_withdraw_takes_back_what_has_not_begun"

    class pool_class(ForkPool):
        def withdraw(self, job_ids: Sequence[int]) -> list[int]:
            return [job.id for job in self._waiting if job.id in job_ids]


class TestForgetsHardLimits(PoolCase):
    must_fail = "test_a_hard_limit_kills"

    class pool_class(ForkPool):
        def next_check(self) -> float | None:
            return None


class TestLosesCrashedJobs(PoolCase):
    must_fail = "test_a_child_that_exits_is_replaced"

    class pool_class(ForkPool):
        def collect(self) -> Collected:
            found = super().collect()
            found.finished = [one for one in found.finished if not isinstance(one.error, WorkerLostError)]
            return found


class TestDropsAtClose(PoolCase):
    must_fail = "test_close_lets_all_jobs_end"

    class pool_class(ForkPool):
        def close(self) -> None:
            self._waiting.clear()


class TestBlocksInSubmit(PoolCase):
    must_fail = "test_submit_never_blocks"

    class pool_class(ForkPool):
        def submit(self, jobs: Sequence[Job]) -> None:
            super().submit(jobs)
            if len(jobs) > self._size:
                time.sleep(2.1)


class TestSkipsInitialize(PoolCase):
    must_fail = "test_initialize_comes_before_the_first_job"

    class pool_class(ForkPool):
        def open(self, size: int, execute: Any, wake: Any, options: PoolOptions) -> None:
            super().open(size, execute, wake, PoolOptions())


class TestCancelsQuietly(PoolCase):
    must_fail = "test_cancel_ends_a_running_job"

    class pool_class(ForkPool):
        def cancel(self, job_id: int, signal: str = "TERM") -> bool:
            return job_id in self._running


class TestReordersOneSlot(PoolCase):
    must_fail = "test_one_slot_keeps_the_order"

    class pool_class(ForkPool):
        def submit(self, jobs: Sequence[Job]) -> None:
            super().submit(list(reversed(jobs)))
