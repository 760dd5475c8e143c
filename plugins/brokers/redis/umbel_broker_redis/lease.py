"""A consumer's lease: how long it may hold what it holds, and whether that time may be over."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable

from umbel_broker_redis.layout import Layout
from umbel_broker_redis.scripts import RENEW
from umbel_client_redis import Command, run


class Lease:
    """The lease of one consumer on all that it holds.

    The server counts it by its own clock, from when it hears of a renewal; here it is counted from when one was sent,
    which is earlier. So it may be in doubt here and good there, never the reverse.

    Attributes:
        identity: the consumer's name among all.
        key: the hash of what it holds.
        seconds: how long it lasts.
        doubted: whether it may have lapsed since ``trust``.
        last: the monotonic time before the last renewal.

    Args:
        name: who reads, for people.
        identity: that of an earlier consumer, to go on with its lease; empty for a new one.
        now: the monotonic time.
    """

    def __init__(
        self, layout: Layout, seconds: float, *, name: str, identity: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.identity = identity or f"{name or 'umbel'}.{uuid.uuid4().hex[:16]}"
        self.key = layout.held(self.identity)
        self.seconds = seconds
        self.milliseconds = round(seconds * 1000)
        self.doubted = False
        self._consumers = layout.consumers
        self._now = now
        self.last = now()

    @property
    def over(self) -> bool:
        """Whether it may be over: it has lapsed, or was not renewed for its length."""
        return self.doubted or self._now() - self.last > self.seconds

    @property
    def due(self) -> float:
        """The monotonic time at which it should be renewed."""
        return self.last + self.seconds / 3

    @property
    def renewal(self) -> Command:
        """The command that renews it."""
        return run(RENEW, (self._consumers,), self.identity, self.milliseconds)

    def renewed(self, sent: float, lapsed: bool, holds: bool) -> None:
        """Note a renewal.

        Args:
            sent: the monotonic time before it was sent.
            lapsed: what the server says.
            holds: whether there was anything to be lost.
        """
        if holds and (lapsed or sent - self.last > self.seconds):
            self.doubted = True
        self.last = max(self.last, sent)

    def trust(self) -> None:
        """From now on it is good: what is held is about to be looked at."""
        self.doubted = False
        self.last = self._now()
