"""When running jobs are over their limits, and when who was cancelled has had time enough to end."""

from __future__ import annotations

import enum
import heapq
import itertools
import time
from collections import deque
from collections.abc import Iterator

from umbel_pool_asyncio.run import Run


class Due(enum.Enum):
    """What is due for a run."""

    SOFT = "soft"
    HARD = "hard"
    LEAVE = "leave"
    """It was cancelled and has not ended: it is left to itself."""


class Limits:
    """What is due for which run, and when. ``begin`` belongs to the thread of the event loop, the rest to the worker's
    loop.
    """

    def __init__(self) -> None:
        self._begun: deque[tuple[Run, float]] = deque()
        self._heap: list[tuple[float, int, Due, Run]] = []
        self._numbers = itertools.count()

    def begin(self, run: Run) -> None:
        """A run with limits has begun."""
        self._begun.append((run, time.monotonic()))

    def add(self, seconds: float, due: Due, run: Run) -> None:
        """Something is due so many seconds from now."""
        self._push(time.monotonic() + seconds, due, run)

    def up(self) -> Iterator[tuple[Due, Run]]:
        """What is due now. Costs next to nothing while no run has a limit."""
        self._take()
        while self._heap and self._heap[0][0] <= time.monotonic():
            _, _, due, run = heapq.heappop(self._heap)
            if not run.task.done():
                yield due, run

    def next(self) -> float | None:
        """Seconds until the next is due, or None."""
        self._take()
        heap = self._heap
        while heap and heap[0][3].task.done():
            heapq.heappop(heap)
        return max(0.0, heap[0][0] - time.monotonic()) if heap else None

    def _take(self) -> None:
        while self._begun:
            run, since = self._begun.popleft()
            if run.job.soft_limit is not None:
                self._push(since + run.job.soft_limit, Due.SOFT, run)
            if run.job.hard_limit is not None:
                self._push(since + run.job.hard_limit, Due.HARD, run)

    def _push(self, when: float, due: Due, run: Run) -> None:
        heapq.heappush(self._heap, (when, next(self._numbers), due, run))
