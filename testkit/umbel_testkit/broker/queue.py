"""Queues: declare, delete, purge, size."""

from __future__ import annotations

import pytest

from umbel_kernel.errors import NotSupported
from umbel_kernel.spi.broker import Broker, BrokerCapability
from umbel_kernel.spi.topology import Queue
from umbel_testkit.broker.case import BrokerCase, NewQueue
from umbel_testkit.waiting import eventually


class QueueSuite(BrokerCase):
    """Declare, delete, purge, size."""

    def test_declare_again_keeps_what_is_there(self, broker: Broker, queue: Queue) -> None:
        self.send(broker, queue, b"kept")
        broker.declare([queue])
        assert self.take(broker.consumer([queue]), 1)[0].body == b"kept"

    def test_declare_nothing_is_harmless(self, broker: Broker) -> None:
        broker.declare([])

    def test_delete_drops_the_messages(self, broker: Broker, queue: Queue) -> None:
        self.send(broker, queue, b"one", b"two")
        broker.delete([queue.name])
        broker.declare([queue])
        self.nothing(broker.consumer([queue]))

    def test_delete_passes_over_what_is_not_there(self, broker: Broker, queue: Queue) -> None:
        broker.delete([self.unique("missing"), queue.name, self.unique("missing")])
        broker.declare([queue])
        self.send(broker, queue, b"works on")
        assert self.take(broker.consumer([queue]), 1)[0].body == b"works on"

    def test_purge_counts_and_drops(self, broker: Broker, new_queue: NewQueue) -> None:
        first, second, other = new_queue(broker), new_queue(broker), new_queue(broker)
        self.send(broker, first, b"1", b"2", b"3")
        self.send(broker, second, b"4")
        self.send(broker, other, b"kept")
        assert broker.purge([first.name, second.name]) == 4
        assert broker.purge([first.name]) == 0
        found = self.take(consumer := broker.consumer([first, second, other]), 1)
        assert found[0].body == b"kept"
        self.nothing(consumer)

    def test_purge_leaves_held_messages(self, broker: Broker, queue: Queue) -> None:
        self.send(broker, queue, b"held")
        consumer = broker.consumer([queue])
        held = self.take(consumer, 1)
        assert broker.purge([queue.name]) == 0
        consumer.reject(held, requeue=True)
        assert self.take(consumer, 1)[0].body == b"held"

    def test_size_counts_what_waits(self, broker: Broker, new_queue: NewQueue) -> None:
        self.need(broker, BrokerCapability.SIZE)
        full, empty, missing = new_queue(broker), new_queue(broker), self.unique("missing")
        self.send(broker, full, b"1", b"2", b"3")
        expected = {full.name: 3, empty.name: 0, missing: 0}
        eventually(
            lambda: broker.size([full.name, empty.name, missing]) == expected,
            within=self.patience,
            what="a size of 3, of 0, and of 0 for a queue not there",
        )

    def test_size_leaves_out_held_messages(self, broker: Broker, queue: Queue) -> None:
        self.need(broker, BrokerCapability.SIZE)
        self.send(broker, queue, b"1", b"2")
        consumer = broker.consumer([queue])
        held = self.take(consumer, 2)
        eventually(lambda: broker.size([queue.name]) == {queue.name: 0}, within=self.patience, what="a size of 0")
        consumer.ack(held)
        assert broker.size([queue.name]) == {queue.name: 0}

    def test_size_is_refused_when_not_claimed(self, broker: Broker, queue: Queue) -> None:
        if BrokerCapability.SIZE in broker.capabilities:
            pytest.skip(f"{type(broker).__name__} declares SIZE")
        with pytest.raises(NotSupported):
            broker.size([queue.name])
