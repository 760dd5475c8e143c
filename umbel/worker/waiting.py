"""Tasks whose time has not come: what is far away goes back to the broker where it can wait, the rest is held here."""

from __future__ import annotations

import heapq
import logging
from collections import deque
from datetime import UTC, datetime
from typing import Protocol

from umbel.worker.held import Held
from umbel.worker.holds import LONGEST_HOLD, Holds
from umbel.worker.pace import MOST
from umbel.worker.settling import Settling
from umbel.worker.timer import Entry, Timer
from umbel_kernel.errors import NotSupported
from umbel_kernel.spi.broker import Broker, BrokerCapability, Consumer

logger = logging.getLogger("umbel.worker.waiting")

SOON = 1.0
"""Seconds up to which a task is held here: every broker that lets messages wait does so for longer times."""

SHORT = 5.0
"""Seconds up to which a task is held here as long as few are, since that is less work than to let it wait elsewhere."""

FEW = 500
"""How many are few: each takes some 5 KB."""


class Waits(Protocol):
    """What is needed of the loop."""

    timer: Timer
    settling: Settling
    holds: Holds
    consumer: Consumer | None
    ready: deque[Held]
    later: dict[int, Held]


class Waiting:
    """Lets tasks wait. Used by the thread that turns the loop.

    What is held stands in the loop's ``later``, and its id in a heap with the time; the timer has one entry for all.
    One that is no longer held when its time comes is passed over.

    Args:
        loop: the worker's.

    Attributes:
        parks: whether the broker lets messages wait.
        ahead: how many messages to take at a time at least, because nearly all of late were of such tasks: what lies
            behind them may be due.
    """

    def __init__(self, loop: Waits) -> None:
        self._loop = loop
        self.parks = False
        self.ahead = 0
        self._seen = 0
        self._far: list[tuple[Held, float]] = []
        self._heap: list[tuple[float, int]] = []
        self._entry: Entry | None = None
        self._next = 0.0

    def attach(self, broker: Broker) -> None:
        """There is a new connection."""
        self.parks = BrokerCapability.PARK in broker.capabilities

    def add(self, held: Held, due: datetime) -> None:
        """Let a task wait. One that is far away is parked at the next ``flush``, with all others."""
        self._seen += 1
        seconds = max((due - datetime.now(UTC)).total_seconds(), 0.0)
        far = seconds > SHORT or (seconds > SOON and len(self._loop.later) >= FEW)
        if self.parks and far and held.delivery is not None:
            self._far.append((held, seconds))
        else:
            self._hold(held, seconds)

    def flush(self, count: int) -> None:
        """Hand back to the broker what is to wait there.

        Args:
            count: of how many messages those that were added since the last call were.

        Raises:
            OperationalError: the connection is lost.
        """
        seen, self._seen = self._seen, 0
        if seen or self.ahead:
            self.ahead = max(min(2 * count, MOST), self.ahead) if seen > 0.9 * count else 0
        far, self._far = self._far, []
        if far and not self._park(far):
            for held, seconds in far:
                self._hold(held, seconds)

    def park(self, held: Held, seconds: float) -> bool:
        """Leave a task to the broker for so long, if it can wait there. Returns whether it does.

        Raises:
            OperationalError: the connection is lost.
        """
        return self.parks and held.delivery is not None and self._park([(held, seconds)])

    def wear(self, held: Held, seconds: float) -> bool:
        """See to it that a message that will be held for so long is held anew, if it has to be. Returns whether."""
        if seconds <= LONGEST_HOLD or not self._loop.holds.wear_out(held.delivery):
            return False
        self._loop.timer.call_after(LONGEST_HOLD, self._hold_anew, held.job.id)
        return True

    def _park(self, far: list[tuple[Held, float]]) -> bool:
        consumer = self._loop.consumer
        if consumer is None:
            return False
        deliveries = [held.delivery for held, _ in far if held.delivery is not None]
        try:
            consumer.reject(deliveries, requeue=True, delay=[seconds for _, seconds in far])
        except NotSupported as error:
            logger.warning("tasks wait in this worker until their time: %s", error)
            self.parks = False
            return False
        return True

    def _hold(self, held: Held, seconds: float) -> None:
        self._loop.later[held.job.id] = held
        if not self.wear(held, seconds):
            heapq.heappush(self._heap, (self._loop.timer.clock.monotonic() + seconds, held.job.id))
            self._arm()

    def _arm(self) -> None:
        """Have the timer call when the first is due."""
        when = self._heap[0][0]
        if self._entry is not None:
            if self._next <= when:
                return
            self._entry.cancel()
        self._next = when
        self._entry = self._loop.timer.call_after(when - self._loop.timer.clock.monotonic(), self._come_due)

    def _come_due(self) -> None:
        self._entry = None
        heap, later, ready = self._heap, self._loop.later, self._loop.ready
        now = self._loop.timer.clock.monotonic()
        while heap and heap[0][0] <= now:
            held = later.pop(heapq.heappop(heap)[1], None)
            if held is not None:
                ready.append(held)
        if heap:
            self._arm()

    def _hold_anew(self, job_id: int) -> None:
        held = self._loop.later.pop(job_id, None)
        if held is not None and held.delivery is not None:
            self._loop.settling.reject(held.delivery, requeue=True)
