"""When messages come: order, priority, delay and expiry."""

from __future__ import annotations

import time

from umbel_kernel.spi.broker import Broker, BrokerCapability
from umbel_kernel.spi.topology import Queue
from umbel_testkit.broker.case import BrokerCase, NewQueue


class OrderSuite(BrokerCase):
    """Order, priority, delay and expiry."""

    def test_a_batch_keeps_its_order(self, broker: Broker, queue: Queue) -> None:
        bodies = [str(number).encode() for number in range(500)]
        self.send(broker, queue, *bodies[:300])
        self.send(broker, queue, *bodies[300:])
        consumer = broker.consumer([queue])
        found: list[bytes] = []
        while len(found) < len(bodies):
            batch = self.take(consumer, min(50, len(bodies) - len(found)))
            found += [delivery.body for delivery in batch]
            consumer.ack(batch)
        assert found == bodies

    def test_urgent_messages_come_first(self, broker: Broker, new_queue: NewQueue) -> None:
        self.need(broker, BrokerCapability.PRIORITY)
        queue = new_queue(broker, max_priority=9)
        for turn in (b"1", b"2"):
            self.send(broker, queue, b"idle" + turn, priority=self.idle_priority)
            self.send(broker, queue, b"urgent" + turn, priority=self.urgent_priority)
        found = [delivery.body for delivery in self.take(broker.consumer([queue]), 4)]
        assert found == [b"urgent1", b"urgent2", b"idle1", b"idle2"]

    def test_messages_without_priority_come(self, broker: Broker, new_queue: NewQueue) -> None:
        self.need(broker, BrokerCapability.PRIORITY)
        queue = new_queue(broker, max_priority=9)
        self.send(broker, queue, b"plain")
        self.send(broker, queue, b"middle", priority=5)
        found = self.take(broker.consumer([queue]), 2)
        assert sorted(delivery.body for delivery in found) == [b"middle", b"plain"]

    def test_a_delayed_message_comes_when_due(self, broker: Broker, queue: Queue) -> None:
        self.need(broker, BrokerCapability.DELAY)
        consumer = broker.consumer([queue])
        sent = time.monotonic()
        self.send(broker, queue, b"due in one second", delay=1.0)
        self.send(broker, queue, b"at once")
        assert self.take(consumer, 1)[0].body == b"at once"
        assert self.take(consumer, 1)[0].body == b"due in one second"
        assert 0.9 <= time.monotonic() - sent < 1.0 + self.patience / 2

    def test_delays_of_several_lengths(self, broker: Broker, queue: Queue) -> None:
        self.need(broker, BrokerCapability.DELAY)
        self.send(broker, queue, b"third", delay=2.0)
        self.send(broker, queue, b"first", delay=0.1)
        self.send(broker, queue, b"second", delay=1.0)
        found = self.take(broker.consumer([queue]), 3)
        assert [delivery.body for delivery in found] == [b"first", b"second", b"third"]

    def test_an_expired_message_is_not_delivered(self, broker: Broker, queue: Queue) -> None:
        self.need(broker, BrokerCapability.TTL)
        self.send(broker, queue, b"expires", expiration=0.2)
        self.send(broker, queue, b"stays", expiration=60.0)
        self.send(broker, queue, b"stays too")
        time.sleep(0.4)
        consumer = broker.consumer([queue])
        assert [delivery.body for delivery in self.take(consumer, 2)] == [b"stays", b"stays too"]
        self.nothing(consumer)

    def test_a_queue_drops_what_is_too_old(self, broker: Broker, new_queue: NewQueue) -> None:
        self.need(broker, BrokerCapability.TTL)
        queue = new_queue(broker, message_ttl=0.2)
        self.send(broker, queue, b"expires", b"expires too")
        time.sleep(0.4)
        consumer = broker.consumer([queue])
        self.send(broker, queue, b"young")
        assert self.take(consumer, 1)[0].body == b"young"

    def test_a_held_message_does_not_expire(self, broker: Broker, queue: Queue) -> None:
        self.need(broker, BrokerCapability.TTL)
        consumer = broker.consumer([queue])
        self.send(broker, queue, b"held", expiration=0.3)
        held = self.take(consumer, 1)
        time.sleep(0.4)
        consumer.ack(held)
        self.nothing(consumer)
