"""How many jobs to stage in a child."""

from __future__ import annotations

AHEAD = 0.010
"""Seconds of work to stage in a child at most."""

PAIRED = 0.030
"""Seconds of a job up to which a second one is staged behind it. Between two jobs of 10 ms a child waited for 0.5 to
1.5 ms until it was given the next: ten children were 85 to 94 % busy, and 97 to 98 % with a second one (2 cores)."""

DEEPEST = 50
"""Jobs to stage in a child at most. With 100 a no-op cost under a tenth less CPU, with 25 a third more."""


class Pace:
    """A moving average of how long jobs take.

    One slow batch counts at once, quick ones count by and by: staging too little costs microseconds, staging too much
    delays jobs.
    """

    def __init__(self) -> None:
        self._seconds = 2 * PAIRED

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
        return max(2 if self._seconds <= PAIRED else 1, int(AHEAD / self._seconds))

    @property
    def patience(self) -> float:
        """Seconds that a job may take before those staged behind it are taken back, while no child is idle."""
        return max(AHEAD, 2 * self._seconds) if self._seconds <= PAIRED else AHEAD
