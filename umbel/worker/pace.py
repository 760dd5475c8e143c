"""How long tasks take of late, and how many of them the worker may hold for it."""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

MOST = 1000
"""The most messages taken in one turn, and held beyond those that run."""

SHORT = 0.02
"""Seconds of work that may wait in the worker beyond its prefetch limit while tasks are short."""

LONG = 0.001
"""Seconds from which a task is worth handing from one thread to another."""

STALL = 0.1
"""Seconds without the end of a task after which tasks are long: what was taken while they were short goes back."""

_WEIGHT = 0.05


class Pace:
    """A moving average of how long tasks take.

    Args:
        now: the monotonic time.
    """

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self.mean = 1.0
        self.done = 0
        self.moved = now()

    def ended(self, runtime: float) -> None:
        """A task has ended that took so many seconds."""
        self.done = done = self.done + 1
        # The first ones count as much as each other, so that what was supposed before the first is forgotten.
        self.mean += (min(runtime, 1.0) - self.mean) * (_WEIGHT if done > 20 else 1.0 / done)

    def ahead(self, size: int) -> int:
        """How many tasks to hold beyond the prefetch limit: as many as all slots do within ``SHORT`` seconds, but no
        more than were done so far, since a few short ones say little.
        """
        return min(int(SHORT * size / max(self.mean, 1e-6)), self.done, MOST)

    def move(self) -> None:
        """Something has ended or begun: tasks do not stall."""
        self.moved = self._now()

    def stalls_in(self) -> float:
        """Seconds until tasks count as long if none ends; 0 or less when they do."""
        return self.moved + STALL - self._now()

    def stall(self) -> None:
        """Tasks are long from now on, until short ones end again."""
        self.mean = max(self.mean, STALL)
