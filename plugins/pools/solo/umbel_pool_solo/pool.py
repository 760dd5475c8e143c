"""The solo pool: one job at a time, in the thread that calls ``drive``."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from types import FrameType
from typing import Any, ClassVar

from umbel_kernel.errors import PoolError, SoftTimeLimitExceeded, WorkerLostError
from umbel_kernel.spi.pool import Collected, Job, Outcome, Pool, PoolCapability, PoolOptions
from umbel_pool_threads import Run, SoftLimits, raise_in

START_GRACE = 0.01
"""Seconds after which the loop looks whether a job that was handed over has begun."""

SOFT = signal.SIGURG
"""The signal by which a soft time limit reaches the main thread; what it does by default is nothing."""


class SoloPool(Pool):
    """Runs jobs in the thread that calls ``drive``, one after the other.

    The worker's loop hands jobs over through a deque and takes outcomes from another: both sides work without a lock,
    and each side wakes the other only if it may be waiting. A side announces that it is about to wait *before* it looks
    a last time, so no wake can be lost.

    Who begins a job and who withdraws it is settled by one atomic ``dict.pop``: only one side gets it.

    With nothing to run it leads the loop, if ``PoolOptions.lead`` lets it: it then takes a job, runs it and settles it
    without a change of threads.

    What a job raises that it should not:

    - ``SystemExit`` ends the job alone: its outcome has ``WorkerLostError``, and the pool goes on.
    - ``KeyboardInterrupt``, and any exception of a signal handler that strikes while a job runs, gives the job the same
      outcome and then leaves ``drive``, so that Ctrl-C is never swallowed. ``drive`` may be called again to go on.
    - Any other exception gives a ``PoolError`` with it as cause.

    *Soft time limits* are enforced in ``collect``, by a signal to the main thread, which also ends a wait in C. In any
    other thread they are raised as in the pool of threads, between two bytecodes. There are no hard ones.
    """

    capabilities: ClassVar[frozenset[PoolCapability]] = frozenset(
        {PoolCapability.SOFT_TIME_LIMIT, PoolCapability.MAIN_THREAD, PoolCapability.LEADS}
    )

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._unbegun: dict[int, Job] = {}
        self._begun: deque[int] = deque()
        self._ended: deque[Outcome] = deque()
        self._gate: SimpleQueue[None] = SimpleQueue()
        self._parked = False
        self._told = False
        self._running: Job | None = None
        self._closed = False
        self._stopped = False
        self._initialized = False
        self._driver: int | None = None
        self._limits = SoftLimits(self._strike)
        self._signalled = False
        self._left = threading.Event()
        self._left.set()

    def open(self, size: int, execute: Callable[[Job], Any], wake: Callable[[], None], options: PoolOptions) -> None:
        """Get ready. The size is always one; ``initialize`` is called where jobs run, when ``drive`` begins."""
        self._execute = execute
        self._wake = wake
        self._options = options
        self._limits.interrupt, self._limits.wake = options.interrupt, wake

    @property
    def size(self) -> int:
        """One."""
        return 1

    def submit(self, jobs: Sequence[Job]) -> None:
        """Hand jobs over.

        Raises:
            PoolError: the pool is closed.
        """
        if self._closed:
            raise PoolError("the solo pool is closed and takes no more jobs")
        self._unbegun.update((job.id, job) for job in jobs)
        self._jobs.extend(jobs)
        self._nudge()

    def withdraw(self, job_ids: Sequence[int]) -> list[int]:
        """Take back whatever has not begun."""
        return [job_id for job_id in job_ids if self._unbegun.pop(job_id, None) is not None]

    def collect(self) -> Collected:
        """What has happened since the last call."""
        self._told = False
        if self._limits.runs:
            self._limits.enforce()
        # Outcomes first: what they end has begun before, so a job is never told as begun after its end.
        ended, begun = self._ended, self._begun
        finished = [ended.popleft() for _ in range(len(ended))]
        return Collected([begun.popleft() for _ in range(len(begun))], finished)

    def next_check(self) -> float | None:
        """Soon, while a job may have begun that ``collect`` has not told of yet; else when a limit is up."""
        if self._begun:
            return 0.0
        if self._unbegun and self._running is None:
            return START_GRACE
        return self._limits.next() if self._limits.runs else None

    def drive(self) -> None:
        """Run jobs here until ``terminate``, or until ``close`` was called and all that was submitted is done.

        Raises:
            PoolError: ``initialize`` failed; nothing will run, and ``submit`` refuses from now on.
        """
        self._driver = threading.get_ident()
        self._left.clear()
        former = None
        if threading.current_thread() is threading.main_thread():
            former = signal.signal(SOFT, self._on_soft_limit)
            self._signalled = True
        try:
            if not self._initialized:
                self._initialize()
            self._run()
            if self._options.finalize is not None:
                self._options.finalize()
        finally:
            job, self._running = self._running, None
            if job is not None:
                self._end(Outcome(job.id, error=WorkerLostError(f"job {job.id} was interrupted in the main thread")))
            if self._signalled:
                self._signalled = False
                signal.signal(SOFT, former)
            self._driver = None
            self._left.set()

    def info(self) -> dict[str, Any]:
        """Facts for people and remote control."""
        return {
            "max-concurrency": 1,
            "processes": [os.getpid()],
            "max-tasks-per-child": None,
            "put-guarded-by-semaphore": True,
            "timeouts": (),
        }

    def close(self) -> None:
        """Take no more jobs."""
        self._closed = True
        self._nudge()

    def terminate(self, *, timeout: float = 5.0) -> None:
        """Drop what has not begun and wait up to ``timeout`` for the running job; it cannot be ended from here."""
        self._closed = self._stopped = True
        self._unbegun.clear()
        self._nudge()
        if self._driver != threading.get_ident():
            self._left.wait(timeout)

    def _initialize(self) -> None:
        if self._options.initialize is not None:
            try:
                self._options.initialize()
            except Exception as error:
                self._closed = True
                raise PoolError(f"the solo pool cannot start: initialize raised {error!r}") from error
        self._initialized = True

    def _run(self) -> None:
        jobs, unbegun, begun, ended = self._jobs, self._unbegun, self._begun, self._ended
        execute, wake, lead = self._execute, self._wake, self._options.lead
        while not self._stopped:
            try:
                job = jobs.popleft()
            except IndexError:
                if lead is not None and lead():
                    continue
                if not self._park():
                    return
                continue
            if unbegun.pop(job.id, None) is None:
                continue
            self._running = job
            begun.append(job.id)
            try:
                limited = job.soft_limit is not None
                outcome = Outcome(job.id, self._limits.run(job, execute) if limited else execute(job))
            except SoftTimeLimitExceeded as error:
                outcome = Outcome(job.id, error=error)
            except SystemExit as error:
                said = f"job {job.id} called sys.exit({error.code!r})"
                outcome = Outcome(job.id, error=_caused(WorkerLostError(said), error))
            except Exception as error:
                said = f"job {job.id} could not be run: {type(error).__name__}: {error}"
                outcome = Outcome(job.id, error=_caused(PoolError(said), error))
            self._running = None
            ended.append(outcome)
            if not self._told:
                self._told = True
                wake()

    def _strike(self, run: Run) -> None:
        if self._signalled:
            signal.pthread_kill(run.thread, SOFT)
        else:
            raise_in(run)

    def _on_soft_limit(self, number: int, frame: FrameType | None) -> None:
        """Raise in the job that is meant, if it has not ended meanwhile."""
        run = self._limits.runs.get(threading.get_ident())
        if run is not None and run.struck and not run.done and not run.told:
            run.told = True
            raise SoftTimeLimitExceeded(run.limit)

    def _park(self) -> bool:
        """Wait for jobs. Returns False when none will come."""
        self._parked = True
        # Before the look at the jobs: what is submitted before ``close`` is then seen, and what comes after cannot be.
        closed = self._closed
        if not self._jobs:
            if closed:
                return False
            self._gate.get()
        self._parked = False
        return True

    def _nudge(self) -> None:
        if self._parked:
            self._parked = False
            self._gate.put(None)

    def _end(self, outcome: Outcome) -> None:
        self._ended.append(outcome)
        self._wake()


def _caused(error: PoolError, cause: BaseException) -> PoolError:
    error.__cause__ = cause
    return error
