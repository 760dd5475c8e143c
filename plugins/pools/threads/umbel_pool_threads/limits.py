"""Soft time limits of jobs in threads: an error that is raised in a thread from outside.

CPython can raise an exception in another thread (``PyThreadState_SetAsyncExc`` in its C API): between two of its
bytecodes, so not while it waits in C for the network, a lock or ``sleep``.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import queue
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from umbel_kernel.errors import SoftTimeLimitExceeded
from umbel_kernel.spi.pool import Job

LENIENCE = 0.25
"""Seconds for which an error waits until a thread is out of code that it would leave in disorder."""

PAUSE = 0.002
"""Seconds between two looks at such a thread."""

_FRAGILE = frozenset(module.__file__ for module in (threading, logging, queue)) | {
    "<frozen importlib._bootstrap>",
    "<frozen importlib._bootstrap_external>",
}
_DEPTH = 3


class Run:
    """A job with a soft limit, in the thread that runs it.

    Attributes:
        due: monotonic time at which the limit is up.
        struck: the limit was up.
        striking: the error is being raised.
        begun: from now on the error may be raised.
        done: the job has ended; nothing may be raised any more.
        told: the error has been raised, where a signal handler does that.
    """

    __slots__ = ("begun", "done", "due", "job", "limit", "striking", "struck", "thread", "told")

    def __init__(self, job: Job, limit: float) -> None:
        self.job = job
        self.limit = limit
        self.thread = threading.get_ident()
        self.due = time.monotonic() + limit
        self.struck = self.striking = self.begun = self.done = self.told = False


class SoftLimits:
    """Runs jobs with soft limits, and raises ``SoftTimeLimitExceeded`` in those that are over theirs, once in each.

    An error from outside can strike anywhere, also in the code here after a job has ended. No lock guards that, since
    it might strike who holds it: the thread says that its job is done and then waits until nobody is about to raise,
    and who raises says so first and then looks whether the job is done. So at least one of them sees the other.

    Args:
        strike: raises the error in a run's thread; by default asynchronously.

    Attributes:
        interrupt: ``PoolOptions.interrupt``.
        wake: called when a job with a limit begins, so that the worker's loop learns of its limit.
        runs: those under way, by thread. Empty while no job has a limit.
    """

    def __init__(self, strike: Callable[[Run], None] | None = None) -> None:
        self._strike = strike or raise_in
        self.interrupt: Callable[[int, Exception], bool] | None = None
        self.wake: Callable[[], None] = lambda: None
        self.runs: dict[int, Run] = {}

    def run(self, job: Job, execute: Callable[[Job], Any]) -> Any:
        """Run a job in the calling thread, as ``execute`` does.

        Raises:
            SoftTimeLimitExceeded: the limit was up in the last moment, when nobody could catch the error any more.
        """
        run = Run(job, job.soft_limit or 0.0)
        value: Any = None
        failure: BaseException | None = None
        ended = False
        while True:
            try:
                if not ended:
                    self.runs[run.thread] = run
                    self.wake()
                    run.begun = True
                    value, ended = execute(job), True
                run.done = True
                while run.striking:
                    time.sleep(0)
                if run.struck:
                    forgive(run.thread)
                break
            except BaseException as error:
                # Of the job, or a strike that came after it.
                if not ended:
                    failure, ended = error, True
                elif not isinstance(error, SoftTimeLimitExceeded):
                    run.done = True
                    self.runs.pop(run.thread, None)
                    raise
        self.runs.pop(run.thread, None)
        if failure is not None:
            raise failure
        return value

    def enforce(self) -> None:
        """Raise what is due. For the worker's loop."""
        now = time.monotonic()
        for run in list(self.runs.values()):
            if run.struck or not run.begun or now < run.due:
                continue
            if now < run.due + LENIENCE and is_fragile(run.thread):
                continue
            run.striking = True
            if not run.done:
                run.struck = True
                if self.interrupt is None or not self.interrupt(run.job.id, SoftTimeLimitExceeded(run.limit)):
                    self._strike(run)
            run.striking = False

    def next(self) -> float | None:
        """Seconds until the next limit is up, or None."""
        due = min((run.due for run in list(self.runs.values()) if not run.struck), default=None)
        if due is None:
            return None
        left = due - time.monotonic()
        return left if left > 0 else PAUSE


def is_fragile(thread: int) -> bool:
    """Whether a thread is just about to take or free a lock of the standard library's, or imports a module: an error
    raised there can leave the lock taken for ever.
    """
    frame = sys._current_frames().get(thread)
    for _ in range(_DEPTH):
        if frame is None:
            return False
        if frame.f_code.co_filename in _FRAGILE:
            return True
        frame = frame.f_back
    return False


def raise_in(run: Run) -> None:
    """Raise the error of a run in its thread, before its next bytecode."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(run.thread), ctypes.py_object(_struck(run.limit)))


def forgive(thread: int) -> None:
    """Take back an error that was raised in a thread and has not struck yet."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), None)


@functools.lru_cache(maxsize=64)
def _struck(limit: float) -> type[SoftTimeLimitExceeded]:
    """A class to be raised without arguments, which makes an error that says the limit: only a class can be raised."""

    class Struck(SoftTimeLimitExceeded):
        def __new__(cls) -> SoftTimeLimitExceeded:  # type: ignore[misc]
            return SoftTimeLimitExceeded(limit)

    return Struck
