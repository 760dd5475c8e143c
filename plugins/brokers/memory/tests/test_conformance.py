"""The memory broker keeps every promise of its contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from umbel_broker_memory import MemoryBroker
from umbel_kernel.url import URL
from umbel_testkit.broker import BrokerConformance


class TestMemoryBroker(BrokerConformance):
    quiet = 0.05
    short_lease_options = {"memory_lease": 0.5}

    @pytest.fixture
    def make_broker(self) -> Callable[..., MemoryBroker]:
        return lambda **options: MemoryBroker(URL.parse("memory://conformance"), options)
