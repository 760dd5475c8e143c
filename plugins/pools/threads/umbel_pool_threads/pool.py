"""The pool of threads: many jobs at once in one process."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from umbel_kernel.errors import PoolError, SoftTimeLimitExceeded, WorkerLostError
from umbel_kernel.spi.pool import Collected, Job, Outcome, Pool, PoolCapability, PoolOptions
from umbel_pool_threads.limits import SoftLimits

START_GRACE = 0.005
"""Seconds after which the loop looks whether a job that was handed over has begun."""

LONG = 0.0005
"""Seconds from which a job is worth waking another thread for, which costs about a tenth of that."""


class ThreadsPool(Pool):
    """Runs jobs in threads of this process.

    All threads take from one deque, without a lock. Who begins a job and who withdraws it is settled by one atomic
    ``dict.pop``. A thread that finds nothing parks on a lock of its own; the one that parked last is woken first.

    *Short jobs* are not worth waking a thread for: while jobs take less than ``LONG`` seconds, one thread does them one
    after the other, and more are woken as soon as one of them turns out to take longer. A job that waits for a slot
    then begins at the latest ``START_GRACE`` seconds later than it could have.

    *With nothing to run* a thread leads the loop, if ``PoolOptions.lead`` lets it: it then takes a job, runs it and
    settles it without a change of threads.

    ``initialize`` is called once, in ``open``; ``finalize`` once, by the last thread to leave after ``close``.

    What a job raises that it should not: ``SystemExit`` and other exits end the job alone, with ``WorkerLostError``;
    any other exception gives a ``PoolError`` with it as cause. A thread outlives its jobs.

    *Soft time limits* are enforced in ``collect``, by an error that is raised in the thread between two of its
    bytecodes: a job that waits in C notices when it comes back. A thread cannot be ended, so there are no hard limits.

    The threads are daemons: a job that never ends does not keep the process alive after ``terminate``.
    """

    capabilities: ClassVar[frozenset[PoolCapability]] = frozenset(
        {PoolCapability.SOFT_TIME_LIMIT, PoolCapability.RESIZE, PoolCapability.LEADS}
    )

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._unbegun: dict[int, Job] = {}
        self._begun: deque[int] = deque()
        self._ended: deque[Outcome] = deque()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._parked: list[threading.Lock] = []
        self._surplus = 0
        self._count = 0
        self._number = 0
        self._busy: dict[int, float] = {}
        self._leading: set[int] = set()
        self._limits = SoftLimits()
        self._seconds = 1.0
        self._told = False
        self._closed = False

    def open(self, size: int, execute: Callable[[Job], Any], wake: Callable[[], None], options: PoolOptions) -> None:
        """Start the threads.

        Raises:
            PoolError: the size is no positive number, ``initialize`` raised, or no thread can be started.
        """
        if size < 1:
            raise PoolError(f"a pool of {size} threads cannot run anything; give a concurrency of at least 1")
        self._execute = execute
        self._wake = wake
        self._options = options
        self._limits.interrupt, self._limits.wake = options.interrupt, wake
        if options.initialize is not None:
            try:
                options.initialize()
            except Exception as error:
                raise PoolError(f"the pool of threads cannot start: initialize raised {error!r}") from error
        try:
            self.grow(size)
        except PoolError:
            self.terminate()
            raise

    @property
    def size(self) -> int:
        """How many jobs can run at once."""
        return self._count - self._surplus

    def submit(self, jobs: Sequence[Job]) -> None:
        """Hand jobs over.

        Raises:
            PoolError: the pool is closed.
        """
        if self._closed:
            raise PoolError("the pool of threads is closed and takes no more jobs")
        self._unbegun.update((job.id, job) for job in jobs)
        self._jobs.extend(jobs)
        # A thread of the pool that hands jobs over takes the first of them itself, when it comes back from leading.
        own = threading.get_ident() in self._leading
        wanted = len(jobs) - own if self._seconds >= LONG else 0
        self._rouse(max(wanted, 0 if own else 1))

    def withdraw(self, job_ids: Sequence[int]) -> list[int]:
        """Take back whatever has not begun."""
        return [job_id for job_id in job_ids if self._unbegun.pop(job_id, None) is not None]

    def collect(self) -> Collected:
        """What has happened since the last call. Wakes more threads for jobs that wait behind long ones."""
        self._told = False
        if self._jobs and self._parked and self._held_up():
            self._rouse(len(self._jobs))
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
        due = self._limits.next() if self._limits.runs else None
        if self._unbegun and self._parked:
            return START_GRACE if due is None else min(due, START_GRACE)
        return due

    def grow(self, count: int = 1) -> None:
        """Start threads.

        Raises:
            PoolError: the pool is closed, or the system gives no more threads.
        """
        if self._closed:
            raise PoolError("the pool of threads is closed and cannot grow")
        for _ in range(count):
            with self._lock:
                if self._surplus:
                    self._surplus -= 1
                    continue
                self._number += 1
                thread = threading.Thread(target=self._work, name=f"umbel-job-{self._number}", daemon=True)
                self._threads.add(thread)
                self._count += 1
            try:
                thread.start()
            except RuntimeError as error:
                with self._lock:
                    self._threads.discard(thread)
                    self._count -= 1
                raise PoolError(f"no more threads than {self._count} can be started: {error}") from error

    def shrink(self, count: int = 1) -> None:
        """Let threads leave as they get free.

        Raises:
            PoolError: no thread would stay.
        """
        with self._lock:
            if count >= self.size:
                raise PoolError(f"a pool of {self.size} threads cannot shrink by {count}: one must stay")
            self._surplus += count
        self._rouse(len(self._parked))

    def info(self) -> dict[str, Any]:
        """Facts for people and remote control."""
        return {
            "max-concurrency": self.size,
            "processes": [os.getpid()],
            "threads": self._count,
            "busy": len(self._busy),
        }

    def close(self) -> None:
        """Take no more jobs; each thread leaves when the queue is empty."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self._rouse(len(self._parked))

    def terminate(self, *, timeout: float = 5.0) -> None:
        """Drop what has not begun, and wait for running jobs as long as ``timeout``; they cannot be ended."""
        self._unbegun.clear()
        self.close()
        deadline = time.monotonic() + timeout
        for thread in list(self._threads):
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))

    def _rouse(self, count: int) -> None:
        """Wake up to so many threads, those that parked last."""
        parked = self._parked
        for _ in range(min(count, len(parked))):
            try:
                parked.pop().release()
            except IndexError:
                return

    def _held_up(self) -> bool:
        """Whether a job has been running for longer than a short one does."""
        since = min(list(self._busy.values()), default=None)
        return since is None or time.monotonic() - since >= LONG

    def _park(self, gate: threading.Lock) -> None:
        """Wait until woken. Who hands over a job after the look at the jobs sees this thread parked, and wakes it."""
        self._parked.append(gate)
        if self._jobs or self._surplus or self._closed:
            try:
                self._parked.remove(gate)
            except ValueError:
                gate.acquire()  # somebody has woken it already
            return
        gate.acquire()

    def _work(self) -> None:
        jobs, unbegun, begun, ended, busy = self._jobs, self._unbegun, self._begun, self._ended, self._busy
        execute, wake, me, monotonic = self._execute, self._wake, threading.get_ident(), time.monotonic
        gate = threading.Lock()
        gate.acquire()
        while not (self._surplus and self._leave(surplus=True)):
            try:
                job = jobs.popleft()
            except IndexError:
                if self._lead(me):
                    continue
                if self._closed:
                    self._leave(surplus=False)
                    return
                self._park(gate)
                continue
            if unbegun.pop(job.id, None) is None:
                continue
            busy[me] = since = monotonic()
            begun.append(job.id)
            try:
                limited = job.soft_limit is not None
                outcome = Outcome(job.id, self._limits.run(job, execute) if limited else execute(job))
            except SoftTimeLimitExceeded as error:
                outcome = Outcome(job.id, error=error)
            except Exception as error:
                said = f"job {job.id} could not be run: {type(error).__name__}: {error}"
                outcome = Outcome(job.id, error=_caused(PoolError(said), error))
            except BaseException as error:
                outcome = Outcome(job.id, error=_caused(WorkerLostError(f"job {job.id} raised {error!r}"), error))
            del busy[me]
            ended.append(outcome)
            self._seconds += (monotonic() - since - self._seconds) * 0.1
            if not self._told:
                self._told = True
                wake()

    def _lead(self, me: int) -> bool:
        """Turn the worker's loop. Returns whether there may be jobs now."""
        lead = self._options.lead
        if lead is None or self._closed:
            return False
        self._leading.add(me)
        try:
            return lead()
        finally:
            self._leading.discard(me)

    def _leave(self, *, surplus: bool) -> bool:
        """Whether the calling thread is to end now; if so it is counted out."""
        with self._lock:
            if surplus and not self._surplus:
                return False
            if surplus:
                self._surplus -= 1
            self._count -= 1
            self._threads.discard(threading.current_thread())
            last = self._count == 0
        if last and self._options.finalize is not None:
            self._options.finalize()
        return True


def _caused(error: PoolError, cause: BaseException) -> PoolError:
    error.__cause__ = cause
    return error
