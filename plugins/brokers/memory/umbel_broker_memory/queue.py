"""A queue in memory: what waits in it, by priority, and what is not due yet."""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from dataclasses import dataclass
from typing import Protocol

from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue

_numbers = itertools.count()


class Reader(Protocol):
    """A consumer, as queues and stores know it. Compared by identity."""

    def ring(self) -> None:
        """Have it look at its queues again; never blocks."""

    def expire(self, now: float) -> set[Reader]:
        """Give back the holds that have run out; returns the readers to ring."""


@dataclass(slots=True, eq=False)
class Entry:
    """A message in a queue or in a consumer's hands.

    Attributes:
        message: as it was published; its headers are never handed out.
        headers: its headers, frozen.
        queue: the queue's name.
        count: how often it was delivered.
        expires: the time (monotonic seconds) after which it is dropped, or None.
    """

    message: Message
    headers: bytes
    queue: str
    count: int = 0
    expires: float | None = None


class MemoryQueue:
    """What waits in one queue. Its store's lock is held around every call.

    Attributes:
        declared: its properties; None when a message created it.
        owner: the broker object it belongs to when it is exclusive.
        readers: how many consumers read it.
        waiting: the consumers to be told of a new message.
    """

    def __init__(self, name: str, declared: Queue | None) -> None:
        self.name = name
        self.declared = declared
        self.owner: object | None = None
        self.readers = 0
        self.waiting: set[Reader] = set()
        self._lanes: dict[int, deque[Entry]] = {0: deque()}
        self._order = [0]
        self._later: list[tuple[float, int, Entry]] = []
        self._expiring = False

    def put(self, entry: Entry, now: float, *, delay: float | None = None, front: bool = False) -> None:
        """Add a message at the back or the front of its priority, or set it aside until it is due."""
        if delay is not None and delay > 0:
            heapq.heappush(self._later, (now + delay, next(_numbers), entry))
            return
        lane = self._lanes.get(priority := entry.message.priority or 0)
        if lane is None:
            lane = self._lanes[priority] = deque()
            self._order = sorted(self._lanes, reverse=True)
        if entry.expires is not None:
            self._expiring = True
        if front:
            lane.appendleft(entry)
        else:
            lane.append(entry)

    def take(self, limit: int, now: float) -> list[Entry]:
        """Remove up to so many, the most urgent and oldest first."""
        self._settle(now)
        found: list[Entry] = []
        for priority in self._order:
            lane = self._lanes[priority]
            while lane and len(found) < limit:
                found.append(lane.popleft())
        return found

    def size(self, now: float) -> int:
        """How many wait, those that are not due yet among them."""
        self._settle(now)
        return sum(map(len, self._lanes.values())) + len(self._later)

    def purge(self, now: float) -> int:
        """Drop what waits; what is not due yet counts."""
        dropped = self.size(now)
        for lane in self._lanes.values():
            lane.clear()
        self._later.clear()
        return dropped

    def next_due(self) -> float | None:
        """When the next message set aside is due, in monotonic seconds."""
        return self._later[0][0] if self._later else None

    def _settle(self, now: float) -> None:
        """Bring in what is due, drop what has expired."""
        while self._later and self._later[0][0] <= now:
            self.put(heapq.heappop(self._later)[2], now)
        if self._expiring:
            self._expiring = False
            for priority, lane in self._lanes.items():
                kept = deque(entry for entry in lane if entry.expires is None or entry.expires > now)
                self._expiring = self._expiring or any(entry.expires is not None for entry in kept)
                self._lanes[priority] = kept
