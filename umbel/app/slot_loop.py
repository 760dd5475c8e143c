"""Event loops for coroutines where the pool has none: one for each thread that runs tasks, kept from task to task, so
that clients which belong to a loop can be kept as well; or one that all slots of a thread share.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextvars
import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from typing import Any

from umbel.app.async_tracer import own
from umbel.app.steered import Steered
from umbel.app.tracer import passes
from umbel.model import current
from umbel_kernel.errors import JobInterrupted, SoftTimeLimitExceeded

logger = logging.getLogger("umbel.app.trace")

LAST_WORDS = 1.0
"""Seconds that a coroutine has to end when it is interrupted."""

TURN = 0.01
"""Seconds between two attempts to run the loop that slots of one thread share while another runs there."""


class SlotLoop:
    """The event loop of one thread. It is closed when its thread ends, or by ``close_all``."""

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self._runner = asyncio.Runner()
        self.loop = self._runner.get_loop()
        self._running: tuple[Any, Steered, asyncio.Task[Any]] | None = None
        self._open = threading.Lock()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end; raises what it raises."""
        steered = Steered(coroutine)
        task: asyncio.Task[Any] = self.loop.create_task(steered)
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
            except (SystemExit, KeyboardInterrupt, JobInterrupted) as error:
                if task.done():
                    raise
                if passes(error):
                    task.cancel()
                    self.loop.run_until_complete(asyncio.wait({task}, timeout=LAST_WORDS))
                    raise
                logger.error("a coroutine that a task has started raised %r", error)

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
        # Its thread may end just when all are closed.
        if not self.loop.is_running() and self._open.acquire(False):
            self._runner.close()

    def __del__(self) -> None:
        self.close()


class SharedLoop:
    """One event loop for slots that are all of one thread, such as greenlets: it turns in a slot of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._turn, name="umbel-coroutines", daemon=True)
        self._thread.start()

    def _turn(self) -> None:
        while not self.loop.is_closed():
            try:
                self.loop.run_forever()
                return
            except BaseException as error:
                if passes(error):
                    raise
                if asyncio._get_running_loop() is not None:
                    # A plain task runs one of its own, by ``asyncio.run``, and a thread can run but one at a time.
                    time.sleep(TURN)
                    continue
                logger.error("a coroutine that a task has started raised %r", error)

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine to its end; raises what it raises. The calling slot waits, and others go on."""
        came: concurrent.futures.Future[Any] = concurrent.futures.Future()
        begun: list[asyncio.Task[Any]] = []

        async def bring() -> None:
            try:
                value = await coroutine
            except BaseException as error:
                came.set_exception(own(error))
            else:
                came.set_result(value)

        steered = Steered(bring())

        def begin() -> None:
            begun.append(self.loop.create_task(steered))

        self.loop.call_soon_threadsafe(begin)
        while True:
            try:
                return came.result()
            except SoftTimeLimitExceeded as error:
                if came.done() or not begun:
                    raise
                self.loop.call_soon_threadsafe(steered.soften, begun[0], *error.args)
            except JobInterrupted:
                if begun:
                    self.loop.call_soon_threadsafe(begun[0].cancel)
                raise

    def close(self) -> None:
        """End the loop, and what is left in it."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.loop.stop)
            self._thread.join(LAST_WORDS)
            if not self.loop.is_running():
                self.loop.close()


class _Local(threading.local):
    slot: SlotLoop | None = None


_local = _Local()
_all: weakref.WeakSet[SlotLoop] = weakref.WeakSet()
_shared: SharedLoop | None = None
_sharing = False
_starting = threading.Lock()
_inherited: list[Any] = []


def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end in the loop of the calling thread, or in that which all share; raises what it raises.

    In a thread whose loop is running already, as when a task is called eagerly by a coroutine, it runs in a thread of
    its own, and the caller's loop stands still until it has ended.
    """
    if _sharing:
        return _run_shared(coroutine)
    if asyncio._get_running_loop() is not None:
        return _run_aside(coroutine)
    slot = _local.slot
    if slot is None or slot.loop.is_closed():
        slot = _local.slot = SlotLoop()
        _all.add(slot)
    return slot.run(coroutine)


def share() -> None:
    """From now on all coroutines of this process share one loop, because its slots are all of one thread."""
    global _sharing
    _sharing = True


def _run_shared(coroutine: Coroutine[Any, Any, Any]) -> Any:
    global _shared
    # To start it lets other slots run, of which each would start one more.
    with _starting:
        if _shared is None:
            _shared = SharedLoop()
        shared = _shared
    return shared.run(coroutine)


def _run_aside(coroutine: Coroutine[Any, Any, Any]) -> Any:
    came: concurrent.futures.Future[Any] = concurrent.futures.Future()

    def work() -> None:
        try:
            came.set_result(run(coroutine))
        except BaseException as error:
            came.set_exception(error)

    threading.Thread(target=contextvars.copy_context().run, args=(work,), name="umbel-eager", daemon=True).start()
    return came.result()


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
    global _shared
    for slot in list(_all):
        slot.close()
    shared, _shared = _shared, None
    if shared is not None:
        shared.close()


def _forget() -> None:
    """In a forked process: a loop of the parent's must not be closed here, since both share what it waits on."""
    global _local, _all, _shared, _starting
    _inherited.append((_local, list(_all), _shared))
    _local, _all, _shared, _starting = _Local(), weakref.WeakSet(), None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
atexit.register(close_all)
