"""The AMQP broker keeps what ``umbel_kernel.spi.broker`` promises."""

from __future__ import annotations

from typing import Any

import pytest

from umbel_broker_amqp import AmqpBroker
from umbel_kernel.spi.topology import Queue
from umbel_kernel.url import URL
from umbel_testkit.broker import BrokerConformance


class TestAmqpBroker(BrokerConformance):
    counts_what_waits = False
    counted_queue = {"arguments": {"x-queue-type": "quorum"}}

    @pytest.fixture
    def make_broker(self, amqp_url: str) -> Any:
        return lambda **options: AmqpBroker(URL.parse(amqp_url), options)

    @pytest.fixture
    def make_unreachable(self) -> Any:
        return lambda: AmqpBroker(URL.parse("amqp://user:seecret@127.0.0.1:1//"))


class TestAmqpBrokerWithQuorumQueues(TestAmqpBroker):
    """Where quorum queues are, messages can wait in the broker."""

    @pytest.fixture
    def new_queue(self, connect: Any) -> Any:
        names: list[str] = []

        def declared(broker: Any, **properties: Any) -> Queue:
            if not {"exclusive", "auto_delete", "max_priority"} & set(properties):
                properties.setdefault("arguments", {"x-queue-type": "quorum"})
            queue = Queue(self.unique("queue"), **properties)
            names.append(queue.name)
            broker.declare([queue])
            return queue

        yield declared
        connect().delete(names)
