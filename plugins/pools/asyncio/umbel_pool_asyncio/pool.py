"""The asyncio pool: coroutines side by side in one event loop, other jobs in threads."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from umbel_kernel.errors import NotSupported, PoolError, Terminated, TimeLimitExceeded, WorkerLostError
from umbel_kernel.spi.pool import Collected, Job, JobCoroutine, Outcome, Pool, PoolCapability, PoolOptions
from umbel_pool_asyncio.limits import Due, Limits
from umbel_pool_asyncio.loop_thread import LoopThread, logger
from umbel_pool_asyncio.run import Run, label
from umbel_pool_asyncio.settings import LOOP, STALL, THREADS
from umbel_pool_asyncio.watchdog import Watchdog
from umbel_pool_threads import ThreadsPool

START_GRACE = 0.005
"""Seconds after which the loop looks whether a job that was handed over has begun."""

PARTING = 0.5
"""Seconds that plain jobs have to see that nobody wants them, when all is ended at once."""

LAST_WORDS = 1.0
"""Seconds that a coroutine has to end after it was cancelled. Then it is left behind, and its slot is free."""


class AsyncioPool(Pool):
    """Runs coroutines in the event loop of one thread, and what is no coroutine in threads beside it.

    The worker's loop hands coroutines over through a deque, and takes outcomes from another; neither side takes a lock.
    Who begins a job and who withdraws it is settled by one atomic ``dict.pop``, and so is who tells how a cancelled one
    has ended.

    The size is how many coroutines run at once. Beside them, ``asyncio_threads`` plain jobs do.

    *Limits* are watched by the worker's loop: a soft one is raised in the coroutine at its ``await``, a hard one
    cancels it. One that swallows that has ``LAST_WORDS`` seconds until its slot is given to another. A pool of threads
    runs the plain jobs, and what it can do about limits holds for those.
    """

    capabilities: ClassVar[frozenset[PoolCapability]] = frozenset(
        {
            PoolCapability.ASYNC,
            PoolCapability.SOFT_TIME_LIMIT,
            PoolCapability.HARD_TIME_LIMIT,
            PoolCapability.TERMINATE,
            PoolCapability.RESIZE,
        }
    )
    settings = (THREADS, STALL, LOOP)

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._unbegun: dict[int, JobCoroutine] = {}
        self._begun: deque[int] = deque()
        self._ended: deque[Outcome] = deque()
        self._runs: dict[int, Run] = {}
        self._limits = Limits()
        self._threads = ThreadsPool()
        self._threaded: set[int] = set()
        self._warned: set[Any] = set()
        self._size = 0
        self._called = False
        self._filling = False
        self._told = False
        self._closed = False
        self._home: LoopThread | None = None
        self._watchdog: Watchdog | None = None

    def open(self, size: int, execute: Callable[[Job], Any], wake: Callable[[], None], options: PoolOptions) -> None:
        """Start the event loop and the threads. ``initialize`` and ``finalize`` are called in the loop's thread.

        Raises:
            PoolError: the size is no positive number, ``initialize`` raised, no thread can be started, or there is no
                such event loop.
        """
        if size < 1:
            raise PoolError(f"a pool of {size} coroutines cannot run anything; give a concurrency of at least 1")
        self._size = size
        self._wake = wake
        self._make = options.coroutine
        given = options.settings
        factory = _factory(given.get(LOOP.name, LOOP.default))
        home = self._home = LoopThread(factory, options.initialize, options.finalize)
        stall = float(given.get(STALL.name, STALL.default))
        try:
            home.start()
            self._most_threads = max(1, int(given.get(THREADS.name, THREADS.default)))
            self._threads.open(min(size, self._most_threads), execute, wake, PoolOptions(interrupt=options.interrupt))
        except PoolError:
            self.terminate()
            raise
        if stall > 0:
            self._watchdog = Watchdog(home, self._runs, stall)
            self._watchdog.start()

    @property
    def size(self) -> int:
        """How many coroutines can run at once."""
        return self._size

    def submit(self, jobs: Sequence[Job]) -> None:
        """Hand jobs over.

        Raises:
            PoolError: the pool is closed.
        """
        if self._closed:
            raise PoolError("the asyncio pool is closed and takes no more jobs")
        make, unbegun, mine, others = self._make, self._unbegun, self._jobs, []
        for job in jobs:
            coroutine = None if make is None else make(job)
            if coroutine is None:
                others.append(job)
            else:
                unbegun[job.id] = coroutine
                mine.append(job)
        if others:
            self._threaded.update(job.id for job in others)
            self._threads.submit(others)
            self._warn(others)
        if mine:
            self._call()

    def withdraw(self, job_ids: Sequence[int]) -> list[int]:
        """Take back whatever has not begun."""
        withdrawn = self._threads.withdraw(job_ids) if self._threaded else []
        self._threaded.difference_update(withdrawn)
        for job_id in job_ids:
            coroutine = self._unbegun.pop(job_id, None)
            if coroutine is not None:
                coroutine.close()
                withdrawn.append(job_id)
        return withdrawn

    def collect(self) -> Collected:
        """What has happened since the last call. Enforces time limits on the way."""
        self._told = False
        for due, run in self._limits.up():
            self._enforce(due, run)
        # Outcomes first: what they end has begun before, so a job is never told as begun after its end.
        ended, begun = self._ended, self._begun
        finished = [ended.popleft() for _ in range(len(ended))]
        started = [begun.popleft() for _ in range(len(begun))]
        if self._threaded:
            others = self._threads.collect()
            self._threaded.difference_update(outcome.job_id for outcome in others.finished)
            return Collected(started + others.started, finished + others.finished)
        return Collected(started, finished)

    def next_check(self) -> float | None:
        """When a limit is due; soon, while a job may have begun that ``collect`` has not told of yet."""
        checks = [self._limits.next()]
        if self._begun or self._filling or (self._unbegun and len(self._runs) < self._size):
            checks.append(START_GRACE)
        if self._threaded:
            checks.append(self._threads.next_check())
        return min((check for check in checks if check is not None), default=None)

    def cancel(self, job_id: int, signal: str = "TERM") -> bool:
        """Cancel a running coroutine; all signals mean the same. Returns whether it was running.

        Raises:
            NotSupported: the job runs in a thread.
        """
        run = self._runs.get(job_id)
        if run is None:
            if job_id in self._threaded:
                raise NotSupported("a plain function cannot be ended in a thread; it can ask self.cancelled")
            return False
        self._cancel(run, Terminated(f"cancelled by {signal}"))
        return True

    def grow(self, count: int = 1) -> None:
        """Let more coroutines run.

        Raises:
            PoolError: the pool is closed.
        """
        if self._closed:
            raise PoolError("the asyncio pool is closed and cannot grow")
        self._size += count
        self._fit_threads()
        self._call()

    def shrink(self, count: int = 1) -> None:
        """Let fewer coroutines run, as they end.

        Raises:
            PoolError: none could run.
        """
        if count >= self._size:
            raise PoolError(f"an asyncio pool of {self._size} slots cannot shrink by {count}: one must stay")
        self._size -= count
        self._fit_threads()

    def info(self) -> dict[str, Any]:
        """Facts for people and remote control."""
        return {
            "max-concurrency": self._size,
            "processes": [os.getpid()],
            "coroutines": len(self._runs),
            "threads": self._threads.size,
        }

    def close(self) -> None:
        """Take no more jobs."""
        self._closed = True
        self._threads.close()

    def terminate(self, *, timeout: float = 5.0) -> None:
        """Drop what has not begun, cancel what runs, and wait for its end as long as ``timeout``."""
        self.close()
        with contextlib.suppress(KeyError):  # which says that there is none left
            while True:
                self._unbegun.popitem()[1].close()
        self._threads.terminate(timeout=0.0)  # what has not begun is dropped at once
        home, self._home = self._home, None
        if self._watchdog is not None:
            self._watchdog.stop()
        if home is not None:
            home.end(timeout)
            if home.blocked:
                among = ", ".join(str(run) for run in list(self._runs.values())[:10])
                logger.error("something blocks the event loop, which is left behind: among %s", among or "callbacks")
        self._threads.terminate(timeout=min(timeout, PARTING))

    # In the thread of the worker's loop

    def _call(self) -> None:
        """Let the event loop look for jobs, unless it will anyway."""
        if not self._called and self._home is not None:
            self._called = True
            self._home.call(self._fill)

    def _warn(self, jobs: Sequence[Job]) -> None:
        """Say once for each task that its hard limit has no effect."""
        for job in jobs:
            name = job.headers.get("task")
            if job.hard_limit is not None and name not in self._warned:
                self._warned.add(name)
                logger.warning(
                    "%s has a hard time limit of %g s and is a plain function, which nothing can end in a thread: it "
                    "runs as long as it takes; make it a coroutine, or use a pool of processes",
                    label(job),
                    job.hard_limit,
                )

    def _fit_threads(self) -> None:
        count = min(self._size, self._most_threads) - self._threads.size
        if count > 0:
            self._threads.grow(count)
        elif count < 0:
            self._threads.shrink(-count)

    def _enforce(self, due: Due, run: Run) -> None:
        home = self._home
        if home is None:
            return
        if due is Due.SOFT:
            home.call(run.soften)
        elif due is Due.HARD:
            self._cancel(run, TimeLimitExceeded(run.job.hard_limit))
        elif self._runs.pop(run.job.id, None) is not None:
            logger.error("%s was cancelled and goes on; it is left behind, and what it comes to is dropped", run)
            self._ended.append(Outcome(run.job.id, error=run.verdict))
            self._call()

    def _cancel(self, run: Run, verdict: PoolError) -> None:
        if run.verdict is None and self._home is not None:
            run.verdict = verdict
            run.job.cancelled = True
            self._home.call(run.cancel)
            self._limits.add(LAST_WORDS, Due.LEAVE, run)

    # In the event loop

    def _fill(self) -> None:
        """Begin as many jobs as there are slots for."""
        self._called = False
        jobs, unbegun, begun, runs = self._jobs, self._unbegun, self._begun, self._runs
        home, watchdog = self._home, self._watchdog
        if home is None:
            return
        self._filling = True
        while len(runs) < self._size:
            try:
                job = jobs.popleft()
            except IndexError:
                break
            coroutine = unbegun.pop(job.id, None)
            if coroutine is None:
                continue
            begun.append(job.id)
            run = Run(job, coroutine, self._run(job, coroutine), home.loop)
            runs[job.id] = run
            if job.soft_limit is not None or job.hard_limit is not None:
                self._limits.begin(run)
        self._filling = False
        if watchdog is not None and watchdog.asleep and runs:
            watchdog.rouse()

    async def _run(self, job: Job, coroutine: JobCoroutine) -> None:
        try:
            outcome = Outcome(job.id, await coroutine)
        except GeneratorExit:
            raise
        except Exception as error:
            said = f"job {job.id} could not be run: {type(error).__name__}: {error}"
            outcome = Outcome(job.id, error=_caused(PoolError(said), error))
        except BaseException as error:
            outcome = Outcome(job.id, error=_caused(WorkerLostError(f"job {job.id} raised {error!r}"), error))
        run = self._runs.pop(job.id, None)
        if run is None:
            return
        if run.verdict is not None:
            outcome = Outcome(job.id, error=run.verdict)
        self._ended.append(outcome)
        if not self._told:
            self._told = True
            self._wake()
        if self._jobs:
            self._fill()


def _factory(path: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if not path:
        return asyncio.new_event_loop
    module, _, name = path.partition(":")
    try:
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]
    except (ImportError, AttributeError, ValueError) as error:
        raise PoolError(f"{LOOP.name} is {path!r}, which cannot be had: {error}; give module:function") from error


def _caused(error: PoolError, cause: BaseException) -> PoolError:
    error.__cause__ = cause
    return error
