"""A timer that runs functions in the worker's loop."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
from collections.abc import Callable
from typing import Any

from umbel_kernel.clock import SYSTEM_CLOCK, Clock

logger = logging.getLogger(__name__)


class Entry:
    """A function and when to call it. ``cancel`` it from any thread."""

    __slots__ = ("args", "cancelled", "function", "interval")

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], interval: float | None) -> None:
        self.function = function
        self.args = args
        self.interval = interval
        self.cancelled = False

    def cancel(self) -> None:
        """Do not call it any more."""
        self.cancelled = True


class Timer:
    """Calls functions at their time, in the thread that calls ``run_due``. Adding is thread-safe.

    Args:
        clock: the monotonic clock it goes by.
        wake: called when an entry was added that is due before all others.
    """

    def __init__(self, clock: Clock = SYSTEM_CLOCK, wake: Callable[[], None] = lambda: None) -> None:
        self.clock = clock
        self.wake = wake
        self._heap: list[tuple[float, int, Entry]] = []
        self._count = itertools.count()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._heap)

    def call_after(self, seconds: float, function: Callable[..., Any], *args: Any) -> Entry:
        """Call it once, in so many seconds."""
        return self._add(self.clock.monotonic() + seconds, Entry(function, args, None))

    def call_repeatedly(self, seconds: float, function: Callable[..., Any], *args: Any) -> Entry:
        """Call it every so many seconds, first after the first of these."""
        return self._add(self.clock.monotonic() + seconds, Entry(function, args, seconds))

    def _add(self, when: float, entry: Entry) -> Entry:
        with self._lock:
            first = not self._heap or when < self._heap[0][0]
            heapq.heappush(self._heap, (when, next(self._count), entry))
        if first:
            self.wake()
        return entry

    def run_due(self) -> float | None:
        """Call what is due. Returns the seconds until the next entry is, or None when there is none.

        An error of a function is logged and keeps nothing from running. What a function adds waits for the next call,
        even if it is due, so that this one comes to an end.
        """
        heap = self._heap
        last = next(self._count)
        while True:
            now = self.clock.monotonic()
            with self._lock:
                if not heap:
                    return None
                when, number, entry = heap[0]
                if not entry.cancelled:
                    if when > now:
                        return when - now
                    if number > last:
                        return 0.0
                heapq.heappop(heap)
            if entry.cancelled:
                continue
            try:
                entry.function(*entry.args)
            except Exception:
                logger.exception("the timer's function %r raised", entry.function)
            if entry.interval is not None and not entry.cancelled:
                with self._lock:
                    heapq.heappush(heap, (max(when + entry.interval, now), next(self._count), entry))

    def clear(self) -> None:
        """Forget every entry."""
        with self._lock:
            for _, _, entry in self._heap:
                entry.cancelled = True
            self._heap.clear()
