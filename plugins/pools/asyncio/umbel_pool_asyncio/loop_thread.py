"""The thread in which the event loop turns."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from umbel_kernel.errors import PoolError

logger = logging.getLogger(__name__)


class LoopThread:
    """Turns an event loop until it is told to end. No task ends it, whatever it raises.

    Args:
        factory: makes the loop.
        initialize: called in the thread before anything else runs there.
        finalize: called in it after everything else.
    """

    def __init__(
        self,
        factory: Callable[[], asyncio.AbstractEventLoop],
        initialize: Callable[[], None] | None,
        finalize: Callable[[], None] | None,
    ) -> None:
        self._initialize = initialize
        self._finalize = finalize
        self._thread = threading.Thread(target=self._live, name="umbel-asyncio", daemon=True)
        self._ready: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._ends = False
        self._deadline = 0.0
        self.loop = factory()

    @property
    def ident(self) -> int | None:
        """The thread's number."""
        return self._thread.ident

    @property
    def blocked(self) -> bool:
        """Whether it is still alive although it was told to end."""
        return self._ends and self._thread.is_alive()

    def start(self) -> None:
        """Start, and wait until it is initialized.

        Raises:
            PoolError: ``initialize`` raised, or there is no thread to be had.
        """
        try:
            self._thread.start()
            self._ready.result()
        except Exception as error:
            raise PoolError(f"the asyncio pool cannot start: {type(error).__name__}: {error}") from error

    def call(self, function: Callable[..., Any], *args: Any) -> None:
        """Call something in the loop, from any thread. Does nothing when the loop is closed."""
        with contextlib.suppress(RuntimeError):
            self.loop.call_soon_threadsafe(function, *args)

    def end(self, timeout: float) -> None:
        """Cancel all that runs in the loop, give it so many seconds to end, and end the thread. A loop that something
        blocks is left behind with its thread, which is a daemon.
        """
        if self._thread.ident is None:
            self.loop.close()
            return
        self._deadline = time.monotonic() + timeout
        self._ends = True
        self.call(self.loop.stop)
        if threading.current_thread() is not self._thread:
            self._thread.join(timeout + 0.5)

    def _live(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            if self._initialize is not None:
                self._initialize()
        except BaseException as error:
            self.loop.close()
            self._ready.set_exception(error)
            return
        self._ready.set_result(None)
        while not self._ends:
            self._turn(self.loop.run_forever)
        self._finish()

    def _turn(self, turn: Callable[[], Any]) -> None:
        try:
            turn()
        except BaseException:
            # ``SystemExit`` and ``KeyboardInterrupt`` of a task that a job has started leave the loop.
            logger.exception("a task beside a job's coroutine wanted to end the event loop, which goes on")

    def _finish(self) -> None:
        loop = self.loop
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        while left and time.monotonic() < self._deadline:
            # In a loop: a task that raises ``SystemExit`` ends the wait.
            waiting = asyncio.wait(left, timeout=self._left())
            self._turn(functools.partial(loop.run_until_complete, waiting))
            left = {task for task in left if not task.done()}
        self._turn(lambda: loop.run_until_complete(asyncio.wait_for(loop.shutdown_asyncgens(), self._left() + 0.1)))
        if self._finalize is not None:
            self._turn(self._finalize)
        asyncio.set_event_loop(None)
        if left:
            logger.error("%d coroutines did not end when they were cancelled; they are left behind", len(left))
            return
        loop.close()

    def _left(self) -> float:
        return max(0.0, self._deadline - time.monotonic())
