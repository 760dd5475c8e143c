"""Brokers with short leases, on a server of a test's own."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from umbel_broker_redis import RedisBroker
from umbel_kernel.url import URL


@pytest.fixture
def direct(redis_server: Any) -> Iterator[Any]:
    """What is in the server, without the broker."""
    made = redis.Redis(port=redis_server.port)
    yield made
    made.close()


@pytest.fixture
def lease() -> float:
    """Seconds of the leases of what ``make`` makes."""
    return 0.4


@pytest.fixture
def make(redis_server: Any, lease: float) -> Iterator[Callable[..., RedisBroker]]:
    """Makes connected brokers with short leases on a server of this test's own."""
    made: list[RedisBroker] = []

    def connect(**options: Any) -> RedisBroker:
        made.append(RedisBroker(URL.parse(redis_server.url), {"lease": lease, **options}))
        made[-1].connect(timeout=2)
        return made[-1]

    yield connect
    for broker in made:
        broker.close()


@pytest.fixture
def name() -> str:
    """The name of a queue."""
    return f"leases-{uuid.uuid4().hex}"
