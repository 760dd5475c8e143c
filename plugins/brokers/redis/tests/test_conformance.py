"""The Redis broker keeps what ``umbel_kernel.spi.broker`` promises."""

from __future__ import annotations

from typing import Any

import pytest

from umbel_broker_redis import RedisBroker
from umbel_kernel.url import URL
from umbel_testkit.broker import BrokerConformance


class TestRedisBroker(BrokerConformance):
    urgent_priority = 0
    idle_priority = 9
    short_lease_options = {"lease": 1.0, "global_keyprefix": "umbel-lease-test."}

    @pytest.fixture
    def make_broker(self, redis_url: str) -> Any:
        return lambda **options: RedisBroker(URL.parse(redis_url), options)

    @pytest.fixture
    def make_unreachable(self) -> Any:
        return lambda: RedisBroker(URL.parse("redis://user:seecret@127.0.0.1:1/0"))
