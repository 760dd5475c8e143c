"""Receiving as many messages as a test expects."""

from __future__ import annotations

import time

from umbel_kernel.spi.broker import Consumer
from umbel_kernel.spi.message import Delivery


def take(consumer: Consumer, count: int, *, within: float = 10.0) -> list[Delivery]:
    """Receive exactly so many; fails when they do not come in so many seconds or when a receive brings more than was
    asked for."""
    taken: list[Delivery] = []
    end = time.monotonic() + within
    while len(taken) < count:
        wanted = count - len(taken)
        found = consumer.receive(wanted, max(0.0, end - time.monotonic()))
        assert len(found) <= wanted, f"receive({wanted}) brought {len(found)} messages"
        taken += found
        assert found or time.monotonic() < end, f"only {len(taken)} of {count} messages came in {within} s"
    return taken
