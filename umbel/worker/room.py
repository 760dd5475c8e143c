"""How many messages the worker holds: as many as it may, and fewer again when tasks turn long."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

from umbel.worker.held import Held
from umbel.worker.pace import MOST, Pace
from umbel.worker.rates import Rates
from umbel.worker.settling import Settling
from umbel.worker.suspects import Suspects
from umbel.worker.waiting import Waiting
from umbel_kernel.spi.pool import Pool


class Full(Protocol):
    """What is needed of the loop."""

    pool: Pool
    pace: Pace
    rates: Rates
    settling: Settling
    suspects: Suspects
    ready: deque[Held]
    running: dict[int, Held]
    later: dict[int, Held]
    waiting: Waiting

    def withdraw(self, job_ids: Sequence[int]) -> list[Held]:
        """Take jobs back from the pool that have not begun."""
        ...

    def hand_back(self, waiting: Iterable[Held]) -> None:
        """Give these back to the broker."""
        ...


class Room:
    """Counts what a loop holds against what it may hold.

    Args:
        loop: the loop.
        multiplier: how many tasks to hold for each slot of the pool while they are long; 1 for no more than can run
            however short they are, 0 for no limit.
        eta_limit: how many tasks whose time has not come to hold at the most; None for no limit.
    """

    def __init__(self, loop: Full, multiplier: int, eta_limit: int | None) -> None:
        self._loop = loop
        self._multiplier = multiplier
        self._eta_limit = eta_limit

    @property
    def limit(self) -> int:
        """How many tasks to hold however long they are; 0 for no limit."""
        return self._multiplier * self._loop.pool.size

    def load(self) -> int:
        """How many tasks run or could; one more when there is no room to see whether there are others."""
        loop = self._loop
        held = len(loop.ready) + len(loop.running) + len(loop.suspects)
        return held + 1 if 0 < self.limit <= held else held

    def free(self) -> int:
        """How many messages to take now."""
        loop, most = self._loop, MOST
        if loop.rates.lines and not loop.waiting.parks and loop.rates.full:
            return 0
        if self._eta_limit is not None:
            most = min(most, self._eta_limit - len(loop.later) + len(loop.rates))
        settling = len(loop.settling) + len(loop.suspects)
        if not self._multiplier:
            return max(most - settling, 0)
        size, limit = loop.pool.size, self.limit
        if self._multiplier > 1:
            limit = max(limit, size + loop.pace.ahead(size), loop.waiting.ahead)
        return max(min(min(limit, size + MOST) - len(loop.ready) - len(loop.running) - settling, most), 0)

    @property
    def exceeded(self) -> bool:
        """Whether more is held than there would be if tasks were long."""
        return 0 < self.limit < len(self._loop.ready) + len(self._loop.running)

    def shed(self) -> int:
        """Give back what was taken while tasks were short, when they turn out to be long. Returns how many."""
        loop = self._loop
        if not self.exceeded or loop.pace.stalls_in() > 0:
            return 0
        surplus = len(loop.ready) + len(loop.running) - self.limit
        loop.pace.stall()
        loop.pace.move()
        last = [loop.ready.pop() for _ in range(min(surplus, len(loop.ready)))]
        begun = [job_id for job_id, held in reversed(loop.running.items()) if not held.started]
        last += loop.withdraw(begun[: surplus - len(last)])
        loop.hand_back(last)
        return len(last)
