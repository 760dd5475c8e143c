"""Looks a thousand times a second at what a thread is doing, and counts the CPU time that the process used since then.

A sample is worth the time since the one before, so that waiting counts for nothing. Python calls a signal's handler
between two of its own instructions: the time of a system call counts for the function that made it.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections import Counter
from types import FrameType

INTERVAL = 0.001
OURS = ("/umbel/", "/umbel_", "/profiling/", "/contenders/", "/harness/")


class Sampler:
    """Samples the thread that started it, which need not be the main one. Start and stop it from there.

    Attributes:
        seconds: of CPU, by file and function: the innermost of ours, with what it calls in other people's code.
    """

    def __init__(self) -> None:
        self.seconds: Counter[tuple[str, str]] = Counter()
        self._ours: dict[str, bool] = {}
        self._thread = 0
        self._last = 0.0

    def start(self) -> None:
        self._thread = threading.get_ident()
        self._last = time.process_time()
        signal.signal(signal.SIGALRM, self._sample)
        signal.setitimer(signal.ITIMER_REAL, INTERVAL, INTERVAL)

    def stop(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)

    def _sample(self, _: int, frame: FrameType | None) -> None:
        now = time.process_time()
        spent, self._last = now - self._last, now
        found = sys._current_frames().get(self._thread) if self._thread != threading.get_ident() else frame
        while found is not None:
            code = found.f_code
            ours = self._ours.get(code.co_filename)
            if ours is None:
                ours = self._ours[code.co_filename] = any(part in code.co_filename for part in OURS)
            if ours:
                self.seconds[code.co_filename, code.co_name] += spent  # type: ignore[assignment]  # a float is counted too
                return
            found = found.f_back
        self.seconds["", ""] += spent  # type: ignore[assignment]
