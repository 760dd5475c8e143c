"""An event loop for each thread that runs tasks, for coroutines where the pool has no loop: kept from task to task, so
that clients which belong to a loop can be kept as well.
"""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import functools
import logging
import os
import threading
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

from umbel.app.async_tracer import own
from umbel.app.tracer import passes
from umbel.model import current
from umbel_kernel.errors import SoftTimeLimitExceeded
from umbel_kernel.steered import Steered

logger = logging.getLogger("umbel.app.trace")

LAST_WORDS = 1.0
"""Seconds that a coroutine has to end when it is interrupted."""


class SlotLoop:
    """The event loop of one thread. It is closed when its thread ends, or by ``close_all``."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self._runner = asyncio.Runner()
        self.loop = self._runner.get_loop()
        self._running: tuple[Any, Steered, asyncio.Task[Any]] | None = None

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end; raises what it raises."""
        steered = Steered(coroutine)
        task = self.loop.create_task(steered)
        self._running = current.get_outermost_request(), steered, task
        try:
            return self._until_done(steered, task)
        except asyncio.CancelledError as error:
            raise own(error) from None
        finally:
            self._running = None

    def _until_done(self, steered: Steered, task: asyncio.Task[Any]) -> Any:
        while True:
            try:
                return self.loop.run_until_complete(task)
            except SoftTimeLimitExceeded as error:
                # Raised in the loop's own code, not in the coroutine.
                if task.done():
                    raise
                steered.soften(task, *error.args)
            except (SystemExit, KeyboardInterrupt) as error:
                if task.done():
                    raise
                if passes(error):
                    self._interrupt(task)
                    raise
                logger.error("a task beside a task's coroutine raised %r", error)

    def _interrupt(self, task: asyncio.Task[Any]) -> None:
        task.cancel()
        self.loop.run_until_complete(asyncio.wait({task}, timeout=LAST_WORDS))

    def soften(self, job_id: int, *args: Any) -> bool:
        """Raise a soft limit in the coroutine of a job, if that runs here and waits. Returns whether it is raised."""
        running = self._running
        if running is None:
            return False
        request, steered, task = running
        if request is None or request.running_job is None or request.running_job.id != job_id:
            return False
        if threading.get_ident() == self.thread and asyncio.current_task(self.loop) is task:
            return False  # called by a signal handler above the coroutine's own code: that can be interrupted there
        try:
            self.loop.call_soon_threadsafe(steered.soften, task, *args)
        except RuntimeError:
            return False  # it has been closed
        return True

    def close(self) -> None:
        """End what is left in the loop, and close it."""
        if not self.loop.is_running():
            self._runner.close()

    def __del__(self) -> None:
        if not self.loop.is_closed():
            self.close()


class _Local(threading.local):
    slot: SlotLoop | None = None


_local = _Local()
_all: weakref.WeakSet[SlotLoop] = weakref.WeakSet()
_inherited: list[Any] = []


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end in the loop of the calling thread; raises what it raises.

    In a thread whose loop is running already, as when a task is called eagerly by a coroutine, it runs in a thread of
    its own, and the caller's loop stands still until it has ended.
    """
    if asyncio._get_running_loop() is not None:
        return _run_aside(coroutine)
    slot = _local.slot
    if slot is None or slot.loop.is_closed():
        slot = _local.slot = SlotLoop()
        _all.add(slot)
    return slot.run(coroutine)


def _run_aside(coroutine: Coroutine[Any, Any, Any]) -> Any:
    came: list[Any] = []

    def work() -> None:
        try:
            came.extend((run(coroutine), None))
        except BaseException as error:
            came.extend((None, error))

    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name="umbel-eager")
    thread.start()
    thread.join()
    value, error = came
    if error is not None:
        raise error
    return value


def in_slot(function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that calls a coroutine function and runs what it makes to its end."""

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        made = function(*args, **kwargs)
        return run(made) if asyncio.iscoroutine(made) else made

    return call


def interrupt(job_id: int, error: Exception) -> bool:
    """Raise a soft limit in a job's coroutine, wherever it runs in this process. Returns whether it is raised."""
    if not isinstance(error, SoftTimeLimitExceeded):
        return False
    return any(slot.soften(job_id, *error.args) for slot in list(_all))


def close_all() -> None:
    """Close the loops in which nothing runs."""
    for slot in list(_all):
        slot.close()


def _forget() -> None:
    """In a forked process: a loop of the parent's must not be closed here, since both share what it waits on."""
    global _local, _all
    _inherited.append((_local, list(_all)))
    _local, _all = _Local(), weakref.WeakSet()


os.register_at_fork(after_in_child=_forget)
atexit.register(close_all)
