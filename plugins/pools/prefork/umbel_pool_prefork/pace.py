"""How many jobs to stage in a child."""

from __future__ import annotations

AHEAD = 0.010
"""Seconds of work to stage in a child at most."""

DEEPEST = 50
"""Jobs to stage in a child at most. With 100 a no-op cost under a tenth less CPU, with 25 a third more."""


class Pace:
    """A moving average of how long jobs take.

    One slow batch counts at once, quick ones count by and by: staging too little costs microseconds, staging too much
    delays jobs.
    """

    def __init__(self) -> None:
        self._seconds = AHEAD

    def add(self, total: float, count: int) -> None:
        """Take in that so many jobs took so many seconds together."""
        mean = total / count
        if mean > self._seconds:
            self._seconds = mean
        else:
            self._seconds += (mean - self._seconds) * min(1.0, 0.1 * count)

    @property
    def seconds(self) -> float:
        """How long a job takes, about."""
        return self._seconds

    @property
    def depth(self) -> int:
        """How many jobs a child may hold, the running one among them."""
        if self._seconds * DEEPEST <= AHEAD:
            return DEEPEST
        return max(1, int(AHEAD / self._seconds))
