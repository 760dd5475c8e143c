"""Tells in the log when a job does not let the hub run, which stops everything else in the process."""

from __future__ import annotations

import logging
import sys
import time
from types import CodeType, FrameType

from umbel_client_greenlet.hub import Hub
from umbel_client_greenlet.slot import Slot
from umbel_kernel.spi.pool import Job

BLOCKED = 2.0
"""Seconds without a turn of the hub that are worth a line in the log."""

_LOOK = 0.5


class Monitor:
    """Watches the hub of the thread that starts it, from a thread of the system that no job can stop.

    Args:
        hub: the hub.
        code: of the function that runs jobs, whose variable ``slot`` has the job; so a job is found in the stack.
        logger: who tells.
    """

    def __init__(self, hub: Hub, code: CodeType, logger: logging.Logger) -> None:
        self._hub = hub
        self._code = code
        self._logger = logger
        self._beaten = time.monotonic()
        self._told = 0.0
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

    def _beat(self) -> None:
        now = time.monotonic()
        if self._told:
            self._logger.warning("the %s hub runs again after %.1f s", self._hub.name, now - self._told)
            self._told = 0.0
        self._beaten = now
        if not self._stopped:
            self._hub.later(_LOOK, self._beat)

    def _watch(self) -> None:
        last = time.monotonic()
        while not self._stopped:
            self._sleep(_LOOK)
            now, beaten = time.monotonic(), self._beaten
            # When this thread did not run either, it was the whole process that stood still.
            if not self._told and now - beaten >= BLOCKED and now - last < BLOCKED:
                self._tell(now - beaten)
                self._told = beaten
            last = now

    def _tell(self, seconds: float) -> None:
        top = frame = sys._current_frames().get(self._thread)
        if top is None:
            return
        where = f"{top.f_code.co_qualname} ({top.f_code.co_filename}:{top.f_lineno})"
        while frame is not None and frame.f_code is not self._code:
            frame = frame.f_back
        self._logger.warning(
            "the %s hub has not run for %.1f s: %s blocks it in %s; nothing else goes on in this worker meanwhile, "
            "its signs of life to the broker neither",
            self._hub.name,
            seconds,
            _named(frame),
            where,
        )


def _named(frame: FrameType | None) -> str:
    slot = frame.f_locals.get("slot") if frame is not None else None
    job: Job | None = slot.job if isinstance(slot, Slot) else None
    if job is None:
        return "something that is no task"
    return f"task {job.headers.get('task', job.id)}[{job.headers.get('id', '')}]"
