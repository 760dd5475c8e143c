"""The pool of threads: many jobs at once in one process."""

from __future__ import annotations

import enum
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, ClassVar

from umbel_kernel.errors import PoolError, WorkerLostError
from umbel_kernel.spi.pool import Collected, Job, Outcome, Pool, PoolCapability, PoolOptions

START_GRACE = 0.01
"""Seconds after which the loop looks whether a job that was handed over has begun."""


class _Note(enum.Enum):
    """What a thread finds in the queue in place of a job."""

    END = "no job comes after this: leave"
    LOOK = "the pool may have shrunk: look"


class ThreadsPool(Pool):
    """Runs jobs in threads of this process.

    All threads take from one ``SimpleQueue``, whose ``put`` costs a tenth of a microsecond where an executor's
    ``submit`` costs twelve. Who begins a job and who withdraws it is settled by one atomic ``dict.pop``.

    ``initialize`` is called once, in ``open``; ``finalize`` once, by the last thread to leave after ``close``.

    What a job raises that it should not: ``SystemExit`` and other exits end the job alone, with ``WorkerLostError``;
    any other exception gives a ``PoolError`` with it as cause. A thread outlives its jobs.

    The threads are daemons: a job that never ends does not keep the process alive after ``terminate``.
    """

    capabilities: ClassVar[frozenset[PoolCapability]] = frozenset({PoolCapability.RESIZE})

    def __init__(self) -> None:
        self._jobs: SimpleQueue[Job | _Note] = SimpleQueue()
        self._unbegun: dict[int, Job] = {}
        self._begun: deque[int] = deque()
        self._ended: deque[Outcome] = deque()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._surplus = 0
        self._count = 0
        self._number = 0
        self._busy: dict[int, int] = {}
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
        unbegun, put = self._unbegun, self._jobs.put
        for job in jobs:
            unbegun[job.id] = job
            put(job)

    def withdraw(self, job_ids: Sequence[int]) -> list[int]:
        """Take back whatever has not begun."""
        return [job_id for job_id in job_ids if self._unbegun.pop(job_id, None) is not None]

    def collect(self) -> Collected:
        """What has happened since the last call."""
        self._told = False
        # Outcomes first: what they end has begun before, so a job is never told as begun after its end.
        ended, begun = self._ended, self._begun
        finished = [ended.popleft() for _ in range(len(ended))]
        return Collected([begun.popleft() for _ in range(len(begun))], finished)

    def next_check(self) -> float | None:
        """Soon, while a job may have begun that ``collect`` has not told of yet."""
        if self._begun:
            return 0.0
        return START_GRACE if self._unbegun and len(self._busy) < self._count else None

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
        for _ in range(count):
            self._jobs.put(_Note.LOOK)

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
            for _ in range(self._count):
                self._jobs.put(_Note.END)

    def terminate(self, *, timeout: float = 5.0) -> None:
        """Drop what has not begun, and wait for running jobs as long as ``timeout``; they cannot be ended."""
        self._unbegun.clear()
        self.close()
        deadline = time.monotonic() + timeout
        for thread in list(self._threads):
            if thread is not threading.current_thread() and thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))

    def _work(self) -> None:
        get, unbegun, begun, ended, busy = self._jobs.get, self._unbegun, self._begun, self._ended, self._busy
        execute, wake, me = self._execute, self._wake, threading.get_ident()
        while True:
            job = get()
            if isinstance(job, _Note):
                if self._leave(job):
                    return
                continue
            if unbegun.pop(job.id, None) is None:
                continue
            busy[me] = job.id
            begun.append(job.id)
            try:
                outcome = Outcome(job.id, execute(job))
            except Exception as error:
                said = f"job {job.id} could not be run: {type(error).__name__}: {error}"
                outcome = Outcome(job.id, error=_caused(PoolError(said), error))
            except BaseException as error:
                outcome = Outcome(job.id, error=_caused(WorkerLostError(f"job {job.id} raised {error!r}"), error))
            del busy[me]
            ended.append(outcome)
            if not self._told:
                self._told = True
                wake()
            if self._surplus and self._leave(_Note.LOOK):
                return

    def _leave(self, note: _Note) -> bool:
        """Whether the calling thread is to end now; if so it is counted out."""
        with self._lock:
            if note is _Note.LOOK and not self._surplus:
                return False
            if note is _Note.LOOK:
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
