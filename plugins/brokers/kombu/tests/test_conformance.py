"""The kombu broker keeps what ``umbel_kernel.spi.broker`` promises, on two transports of kombu."""

from __future__ import annotations

from typing import Any

import pytest

from umbel_broker_kombu import KombuBroker
from umbel_kernel.url import URL
from umbel_testkit.broker import BrokerConformance


class TestMemory(BrokerConformance):
    @pytest.fixture
    def make_broker(self) -> Any:
        return lambda **options: KombuBroker(URL.parse("kombu+memory://"), options)

    @pytest.mark.xfail(strict=True, reason="kombu's own expression for # asks for the dot before it")
    def test_topic_patterns(self, broker: Any, new_queue: Any) -> None:
        super().test_topic_patterns(broker, new_queue)


@pytest.mark.slow
class TestAmqp(BrokerConformance):
    @pytest.fixture
    def make_broker(self, amqp_url: str) -> Any:
        return lambda **options: KombuBroker(URL.parse(f"kombu+{amqp_url}"), options)

    @pytest.fixture
    def make_unreachable(self) -> Any:
        return lambda: KombuBroker(URL.parse("kombu+amqp://user:seecret@127.0.0.1:1//"))
