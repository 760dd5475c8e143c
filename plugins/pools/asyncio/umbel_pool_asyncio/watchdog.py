"""Notices that something holds up the event loop, and says what."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import time
import traceback
from collections.abc import Mapping

from umbel_pool_asyncio.loop_thread import LoopThread
from umbel_pool_asyncio.run import Run

logger = logging.getLogger(__name__)

FRAMES = 8
"""How many of the innermost places are shown."""


class Watchdog:
    """A thread that asks the event loop for an answer, again and again while jobs run, and sleeps while none does.

    Args:
        home: where the loop turns.
        runs: what runs in it.
        stall: seconds without an answer after which a warning names what is in the way.
    """

    def __init__(self, home: LoopThread, runs: Mapping[int, Run], stall: float) -> None:
        self._home = home
        self._runs = runs
        self._stall = stall
        self._stop = threading.Event()
        self._work = threading.Event()
        self.asleep = True
        self._thread = threading.Thread(target=self._watch, name="umbel-asyncio-watchdog", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def rouse(self) -> None:
        """A job runs. Call it when ``asleep``."""
        self.asleep = False
        self._work.set()

    def stop(self) -> None:
        """End."""
        self._stop.set()
        self._work.set()

    def _watch(self) -> None:
        while not self._stop.is_set():
            if not self._runs:
                self._work.clear()
                self.asleep = True
                if not self._runs:
                    self._work.wait()
                self.asleep = False
                continue
            since = time.monotonic()
            answer = threading.Event()
            self._home.call(answer.set)
            if answer.wait(self._stall):
                self._stop.wait(self._stall)
            elif not self._stop.is_set():
                self._tell(since, answer)

    def _tell(self, since: float, answer: threading.Event) -> None:
        who = self._culprit()
        frame = sys._current_frames().get(self._home.ident or 0)
        stack = "".join(traceback.format_stack(frame)[-FRAMES:]) if frame is not None else ""
        del frame
        logger.warning(
            "%s has held up the event loop for %.1f s, and all that runs there with it (%d tasks). What blocks belongs "
            "into a thread (asyncio.to_thread), or into a task that is a plain function. It is here:\n%s",
            who,
            time.monotonic() - since,
            len(self._runs),
            stack,
        )
        while not answer.wait(1.0):
            if self._stop.is_set():
                return
        logger.warning("the event loop goes on; %s has held it up for %.1f s", who, time.monotonic() - since)

    def _culprit(self) -> str:
        task = asyncio.current_task(self._home.loop)
        for run in list(self._runs.values()):
            if run.task is task:
                return str(run)
        return "a callback" if task is None else f"a coroutine that a task has started, {task.get_coro()!r},"
