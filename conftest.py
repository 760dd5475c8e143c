"""Servers for tests. A test that needs one asks for its fixture and is skipped, by name, where there is none.

UMBEL_REQUIRE_SERVICES=redis,rabbitmq turns that skip into an error, so that nothing goes untested unseen.
"""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

import pytest

REDIS_URL = os.environ.get("UMBEL_TEST_REDIS_URL", "redis://127.0.0.1:6379/9")
AMQP_URL = os.environ.get("UMBEL_TEST_AMQP_URL", "amqp://guest:guest@127.0.0.1:5672//")


def _there(name: str, url: str, default_port: int) -> str:
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or default_port), timeout=2).close()
    except OSError as error:
        said = f"{name} is not reachable at {parts.hostname}:{parts.port or default_port}: {error}"
        if name in os.environ.get("UMBEL_REQUIRE_SERVICES", "").split(","):
            pytest.fail(said)
        pytest.skip(said)
    return url


@pytest.fixture(scope="session")
def redis_url() -> str:
    """A Redis database that tests may fill; each test uses names of its own and cleans them up."""
    return _there("redis", REDIS_URL, 6379)


@pytest.fixture(scope="session")
def amqp_url() -> str:
    """A RabbitMQ virtual host that tests may fill; each test uses names of its own and cleans them up."""
    return _there("rabbitmq", AMQP_URL, 5672)
