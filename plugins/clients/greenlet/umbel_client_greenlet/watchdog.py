"""Notices that a job holds up the hub, which stops everything else in the process, and says which."""

from __future__ import annotations

import logging
import sys
import time
import traceback
from collections.abc import Callable
from types import CodeType, FrameType

from umbel_client_greenlet.hub import Hub, Pending
from umbel_client_greenlet.slot import Slot
from umbel_kernel.spi.pool import Job

FRAMES = 8
"""How many of the innermost places are shown."""


class Watchdog:
    """Watches the hub of the thread that starts it, from a thread of the system that no job can stop.

    Args:
        hub: the hub.
        code: of the function that runs jobs, whose variable ``slot`` has the job; so a job is found in the stack.
        stall: seconds without a turn of the hub after which a warning names what is in the way.
        running: tells how many jobs run.
        logger: who tells.
    """

    def __init__(
        self, hub: Hub, code: CodeType, *, stall: float, running: Callable[[], int], logger: logging.Logger
    ) -> None:
        self._hub = hub
        self._code = code
        self._stall = stall
        self._look = min(stall / 2, 1.0)
        self._running = running
        self._logger = logger
        self._beaten = time.monotonic()
        self._culprit = ""
        self._pending: Pending | None = None
        self._stopped = False

    def start(self) -> None:
        """Begin."""
        hub = self._hub
        self._thread: int = hub.native("_thread", "get_ident")()
        self._sleep = hub.native("time", "sleep")
        self._beat()
        hub.native("_thread", "start_new_thread")(self._watch, ())

    def stop(self) -> None:
        """End."""
        self._stopped = True
        if self._pending is not None:
            self._pending.cancel()

    def _beat(self) -> None:
        """In the hub: it turns."""
        now = time.monotonic()
        if self._culprit:
            held = now - self._beaten
            self._logger.warning(
                "the %s hub goes on; %s has held it up for %.1f s", self._hub.name, self._culprit, held
            )
            self._culprit = ""
        self._beaten = now
        if not self._stopped:
            self._pending = self._hub.later(self._look, self._beat)

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._stopped:
            self._sleep(self._look)
            now = time.monotonic()
            # When this thread did not run either, it was the whole process that stood still.
            if not self._culprit and now - self._beaten >= self._stall and now - last < self._look + self._stall:
                self._tell(now - self._beaten)
            last = now

    def _tell(self, seconds: float) -> None:
        frame = sys._current_frames().get(self._thread)
        stack = "".join(traceback.format_stack(frame)[-FRAMES:])
        while frame is not None and frame.f_code is not self._code:
            frame = frame.f_back
        self._culprit = _named(frame)
        self._logger.warning(
            "%s has held up the %s hub for %.1f s, and all that runs there with it (%d tasks, and the worker's signs "
            "of life to the broker). What waits for nothing belongs into another pool. It is here:\n%s",
            self._culprit,
            self._hub.name,
            seconds,
            self._running(),
            stack,
        )


def _named(frame: FrameType | None) -> str:
    slot = frame.f_locals.get("slot") if frame is not None else None
    job: Job | None = slot.job if isinstance(slot, Slot) else None
    if job is None:
        return "something that is no task"
    return f"task {job.headers.get('task', job.id)}[{job.headers.get('id', '')}]"
