"""The contract of a pool: what runs jobs."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from umbel_kernel.errors import NotSupported
from umbel_kernel.setting import Setting


class PoolCapability(enum.StrEnum):
    """What a pool can do beyond running jobs."""

    SOFT_TIME_LIMIT = "soft_time_limit"
    HARD_TIME_LIMIT = "hard_time_limit"
    TERMINATE = "terminate"  # ``cancel`` ends a running job
    RECYCLE = "recycle"  # ``max_jobs_per_child`` and ``max_memory_per_child`` are kept
    RESIZE = "resize"
    ASYNC = "async"  # what ``PoolOptions.coroutine`` makes of jobs runs side by side in an event loop
    PROCESSES = "processes"  # jobs run in other processes: a crash of one leaves the worker alive
    MAIN_THREAD = "main_thread"  # jobs run in the thread that calls ``drive``; the worker's loop gets another
    ONE_THREAD = "one_thread"  # jobs run side by side in one thread of the system, and share what belongs to a thread
    LEADS = "leads"  # a thread of it that has nothing to run calls ``PoolOptions.lead``


@dataclass(slots=True)
class Job:
    """One task to run. All of it is plain data that ``marshal`` can carry."""

    id: int  # unique in this pool's life
    body: bytes  # the raw body; it is decoded where the job runs
    headers: dict[str, Any]  # the message's headers
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    context: dict[str, Any] = field(default_factory=dict)  # what else the framework wants to have there
    soft_limit: float | None = None  # seconds of running after which ``SoftTimeLimitExceeded`` is raised inside
    hard_limit: float | None = None  # seconds of running after which the job is killed
    cancelled: bool = False  # nobody wants it any more: set by the worker while it runs, for jobs that ask


@dataclass(slots=True)
class Outcome:
    """How a job ended: with what ``execute`` returned, or with an error of the pool's own, such as ``WorkerLostError``,
    ``TimeLimitExceeded`` or ``Terminated``. ``execute`` itself raises nothing but what kills its process."""

    job_id: int
    value: Any = None
    error: Exception | None = None


@dataclass(slots=True)
class Collected:
    """What has happened in a pool since the last ``collect``: ids of jobs that began to run, each told once and not
    after it finished, and how jobs ended; a job that began and ended since then is in both."""

    started: list[int] = field(default_factory=list)
    finished: list[Outcome] = field(default_factory=list)


class JobCoroutine(Coroutine[Any, Any, Any]):
    """What runs a job in an event loop."""

    @abstractmethod
    def soften(self, task: Any, *args: Any) -> None:
        """Called in the loop, once, when the soft limit is up: raise ``SoftTimeLimitExceeded(*args)`` at the ``await``
        where the ``asyncio.Task`` is that runs this. It does not count as cancelled."""


@dataclass(slots=True)
class PoolOptions:
    """How to run the pool. ``initialize`` is called once where jobs will run (in each child, after the fork) before the
    first, ``finalize`` there after the last, on an orderly end. ``lead`` turns the worker's loop once, which calls the
    pool; it returns whether to look for jobs again, or else to wait for ``submit``, even if that brings none.

    ``coroutine`` is for pools with ``ASYNC``: it makes what runs a job in an event loop, or None of one that is for
    ``execute``, which must not hold up that loop. It is quick; what it makes raises as little as ``execute``. Soft
    limits are raised at an ``await``, once; hard ones and ``cancel`` cancel, and whoever swallows that is left behind.

    ``interrupt`` is asked where a job runs before a pool raises an error in the middle of ``execute``; it returns
    whether it raises that itself at a better place, as in the coroutine that runs there. Callable from any thread and
    from a signal handler."""

    max_jobs_per_child: int | None = None  # replace a child after so many jobs; None for never
    max_memory_per_child: int | None = None  # replace a child that grew over so many KiB, after its job
    alive_timeout: float = 4.0  # seconds a new child has to report
    lost_wait: float = 10.0  # seconds to wait for the result of a child that has gone
    hostname: str = ""  # the worker's name, for process titles
    initialize: Callable[[], None] | None = None
    lead: Callable[[], bool] | None = None
    finalize: Callable[[], None] | None = None
    prepare: Callable[[], None] | None = None  # called before each fork, in the process that forks
    coroutine: Callable[[Job], JobCoroutine | None] | None = None
    interrupt: Callable[[int, Exception], bool] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)  # values of ``Pool.settings`` by their names


class Pool(ABC):
    """Runs jobs. Every method but ``drive`` is called by one thread at a time, the one that turns the worker's loop."""

    capabilities: ClassVar[frozenset[PoolCapability]] = frozenset()
    settings: ClassVar[tuple[Setting, ...]] = ()

    @abstractmethod
    def open(self, size: int, execute: Callable[[Job], Any], wake: Callable[[], None], options: PoolOptions) -> None:
        """Get ready to run ``size`` jobs at once.

        Args:
            execute: runs one job and returns plain data that ``marshal`` can carry.
            wake: thread-safe; the pool calls it when a job has finished, so that the loop collects.

        Raises:
            PoolError: it cannot be made; what was begun is undone.
        """

    @property
    @abstractmethod
    def size(self) -> int:
        """How many jobs can run at once."""

    @abstractmethod
    def submit(self, jobs: Sequence[Job]) -> None:
        """Take jobs to run, in order, as slots get free. Never blocks, whatever their number. The worker submits little
        more than there are free slots, or many at once while jobs are short."""

    @abstractmethod
    def withdraw(self, job_ids: Sequence[int]) -> list[int]:
        """Take back jobs that have not begun. Returns the ids of those that now never will."""

    @abstractmethod
    def collect(self) -> Collected:
        """What has happened since the last call. Never blocks. Enforces time limits on the way."""

    def watched(self, by: Callable[[int], bool]) -> bool:
        """Tell of a descriptor that is readable whenever ``collect`` would bring something: ``by`` begins to watch it,
        and returns whether it does. From then on ``wake`` is not called, until this is called again with no for an
        answer. Returns whether one is watched. Default: there is none."""
        return False

    def next_check(self) -> float | None:
        """Seconds until ``collect`` should be called although nobody woke the loop, or None. A pool that enforces time
        limits in ``collect`` says here when the next one is due."""
        return None

    def cancel(self, job_id: int, signal: str = "TERM") -> bool:
        """End a running job. Its outcome has ``Terminated``. Returns whether it was running.

        Raises:
            NotSupported: without ``TERMINATE``.
        """
        raise NotSupported(f"{type(self).__name__} cannot end a running job; use a pool of processes")

    def flag(self, job_id: int) -> bool:
        """A running job was set to ``cancelled``: let it know where it runs. Returns whether it can. Default: it sees
        that itself, for a pool whose jobs are the objects that were submitted."""
        return True

    def grow(self, count: int = 1) -> None:
        """Add slots. Only with ``RESIZE``."""
        raise NotSupported(f"{type(self).__name__} cannot change its size")

    def shrink(self, count: int = 1) -> None:
        """Remove slots as they get free. Only with ``RESIZE``."""
        raise NotSupported(f"{type(self).__name__} cannot change its size")

    def drive(self) -> None:
        """Run jobs in the calling thread until ``close`` or ``terminate``. Only with ``MAIN_THREAD``."""
        raise NotSupported(f"{type(self).__name__} runs no jobs in the caller's thread")

    def info(self) -> dict[str, Any]:
        """Facts for people and remote control, such as ``processes`` and ``max-concurrency``."""
        return {"max-concurrency": self.size}

    @abstractmethod
    def close(self) -> None:
        """Take no more jobs. Running and submitted ones go on; ``collect`` still brings their outcomes. Does not wait;
        a second call does nothing."""

    @abstractmethod
    def terminate(self, *, timeout: float = 5.0) -> None:
        """End everything now: running jobs are ended where that is possible, their outcomes are lost. Also called after
        ``close`` when all is done, to free what the pool holds. Never raises; a second call does nothing."""
