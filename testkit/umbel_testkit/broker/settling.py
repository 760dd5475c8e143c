"""Acknowledging, rejecting, and giving back."""

from __future__ import annotations

import time

from umbel_kernel.spi.broker import Broker, BrokerCapability
from umbel_kernel.spi.topology import Queue
from umbel_testkit.broker.case import BrokerCase, MakeBroker, NewQueue
from umbel_testkit.waiting import eventually


class SettlingSuite(BrokerCase):
    """Acknowledging, rejecting, and giving back."""

    def test_a_first_delivery_is_not_redelivered(self, broker: Broker, queue: Queue) -> None:
        self.send(broker, queue, b"new")
        assert self.take(broker.consumer([queue]), 1)[0].redelivered is False

    def test_what_is_acknowledged_is_gone(self, broker: Broker, connect: MakeBroker, queue: Queue) -> None:
        self.send(broker, queue, b"1", b"2", b"3")
        consumer = broker.consumer([queue])
        consumer.ack(self.take(consumer, 3))
        consumer.close()
        self.nothing(connect().consumer([queue]))

    def test_part_of_a_batch_may_be_acknowledged(self, broker: Broker, connect: MakeBroker, queue: Queue) -> None:
        self.send(broker, queue, b"1", b"2", b"3", b"4")
        consumer = broker.consumer([queue])
        found = self.take(consumer, 4)
        consumer.ack([found[3], found[1]])
        consumer.close()
        other = connect().consumer([queue])
        assert sorted(delivery.body for delivery in self.take(other, 2)) == [b"1", b"3"]
        self.nothing(other)

    def test_acknowledging_twice_is_harmless(self, broker: Broker, queue: Queue) -> None:
        self.send(broker, queue, b"1", b"2")
        consumer = broker.consumer([queue])
        found = self.take(consumer, 2)
        consumer.ack(found[:1])
        consumer.ack(found[:1])
        consumer.ack([found[0], found[1], found[1]])
        consumer.ack([])
        self.send(broker, queue, b"goes on")
        assert self.take(consumer, 1)[0].body == b"goes on"

    def test_what_it_does_not_hold_is_passed_over(self, broker: Broker, queue: Queue, connect: MakeBroker) -> None:
        self.send(broker, queue, b"1")
        mine = broker.consumer([queue])
        held = self.take(mine, 1)
        mine.reject(held, requeue=True)
        theirs = connect().consumer([queue])
        mine.close()
        again = self.take(theirs, 1)
        stranger = broker.consumer([queue])
        stranger.ack(held)
        stranger.reject(held, requeue=True)
        theirs.reject(again, requeue=True)
        assert self.take(theirs, 1)[0].body == b"1", "an ack by one that did not hold it dropped the message"
        self.nothing(stranger)

    def test_reject_with_requeue_brings_it_back(self, broker: Broker, queue: Queue) -> None:
        self.send(broker, queue, b"again", headers={"id": 1}, correlation_id="c", priority=2)
        consumer = broker.consumer([queue])
        consumer.reject(self.take(consumer, 1), requeue=True)
        found = self.take(consumer, 1)[0]
        assert (found.body, found.headers, found.correlation_id, found.priority) == (b"again", {"id": 1}, "c", 2)
        assert found.redelivered is True
        consumer.ack([found])
        self.nothing(consumer)

    def test_reject_without_requeue_drops_it(self, broker: Broker, connect: MakeBroker, queue: Queue) -> None:
        self.send(broker, queue, b"1", b"2")
        consumer = broker.consumer([queue])
        consumer.reject(self.take(consumer, 2), requeue=False)
        consumer.close()
        self.nothing(connect().consumer([queue]))

    def test_rejecting_twice_gives_one_copy(self, broker: Broker, queue: Queue) -> None:
        self.send(broker, queue, b"1")
        consumer = broker.consumer([queue])
        held = self.take(consumer, 1)
        consumer.reject(held, requeue=True)
        consumer.reject(held, requeue=True)
        consumer.reject([], requeue=True)
        consumer.ack(self.take(consumer, 1))
        self.nothing(consumer)

    def test_reject_after_ack_is_passed_over(self, broker: Broker, queue: Queue) -> None:
        self.send(broker, queue, b"1")
        consumer = broker.consumer([queue])
        held = self.take(consumer, 1)
        consumer.ack(held)
        consumer.reject(held, requeue=True)
        self.nothing(consumer)

    def test_reject_with_delay(self, broker: Broker, queue: Queue) -> None:
        self.send(broker, queue, b"later")
        consumer = broker.consumer([queue])
        held = self.take(consumer, 1)
        rejected = time.monotonic()
        consumer.reject(held, requeue=True, delay=1.0)
        parks = BrokerCapability.PARK in broker.capabilities
        if parks:
            self.nothing(consumer)
        found = self.take(consumer, 1)[0]
        assert (found.body, found.redelivered) == (b"later", not parks)
        if parks:
            assert time.monotonic() - rejected >= 0.9

    def test_each_waits_for_its_own_time(self, broker: Broker, queue: Queue) -> None:
        self.need(broker, BrokerCapability.PARK)
        self.send(broker, queue, b"third", b"first", b"second", headers={"id": 1}, correlation_id="c", priority=2)
        consumer = broker.consumer([queue])
        consumer.reject(self.take(consumer, 3), requeue=True, delay=[3.2, 0.0, 1.2])
        found = [self.take(consumer, 1)[0] for _ in range(3)]
        assert [delivery.body for delivery in found] == [b"first", b"second", b"third"]
        assert {(str(d.headers), d.correlation_id, d.priority) for d in found} == {("{'id': 1}", "c", 2)}
        consumer.ack(found)
        self.nothing(consumer)

    def test_what_waits_can_be_counted_and_purged(self, broker: Broker, queue: Queue) -> None:
        self.need(broker, BrokerCapability.PARK)
        self.need(broker, BrokerCapability.SIZE)
        self.send(broker, queue, b"1", b"2")
        consumer = broker.consumer([queue])
        consumer.reject(self.take(consumer, 2), requeue=True, delay=1.0)
        self.nothing(consumer)
        if self.counts_what_waits:
            assert broker.size([queue.name]) == {queue.name: 2}
            assert broker.purge([queue.name]) == 2
            assert broker.size([queue.name]) == {queue.name: 0}
            time.sleep(1.0)
            self.nothing(consumer)

    def test_what_waits_survives_its_consumer(self, broker: Broker, connect: MakeBroker, queue: Queue) -> None:
        self.need(broker, BrokerCapability.PARK)
        self.send(broker, queue, b"1", b"2")
        consumer = broker.consumer([queue])
        consumer.reject(self.take(consumer, 2), requeue=True, delay=1.0)
        self.nothing(consumer)
        consumer.close()
        other = connect().consumer([queue])
        assert sorted(delivery.body for delivery in self.take(other, 2)) == [b"1", b"2"]

    def test_deliveries_are_counted(self, broker: Broker, new_queue: NewQueue) -> None:
        self.need(broker, BrokerCapability.DELIVERY_COUNT)
        queue = new_queue(broker, **self.counted_queue)
        self.send(broker, queue, b"counted")
        consumer = broker.consumer([queue])
        counts = []
        for _ in range(3):
            found = self.take(consumer, 1)
            counts.append(found[0].delivery_count)
            consumer.reject(found, requeue=True)
        assert counts == [0, 1, 2]

    def test_close_gives_back_what_is_held(self, broker: Broker, connect: MakeBroker, queue: Queue) -> None:
        self.send(broker, queue, b"1", b"2", b"3", b"4")
        consumer = broker.consumer([queue])
        held = self.take(consumer, 3)
        consumer.ack(held[:1])
        consumer.close()
        consumer.close()
        other = connect().consumer([queue])
        found = {delivery.body: delivery.redelivered for delivery in self.take(other, 3)}
        assert sorted(found) == [b"2", b"3", b"4"]
        assert found[b"2"] and found[b"3"]
        self.nothing(other)

    def test_closing_the_broker_gives_back_what_is_held(
        self, broker: Broker, connect: MakeBroker, queue: Queue
    ) -> None:
        self.send(broker, queue, b"1", b"2")
        self.take(broker.consumer([queue]), 2)
        broker.close()
        other = connect().consumer([queue])
        assert sorted(delivery.body for delivery in self.take(other, 2)) == [b"1", b"2"]

    def test_closing_one_consumer_leaves_another(self, broker: Broker, new_queue: NewQueue) -> None:
        first, second = new_queue(broker), new_queue(broker)
        staying, leaving = broker.consumer([first]), broker.consumer([second])
        self.send(broker, first, b"held")
        held = self.take(staying, 1)
        leaving.close()
        self.send(broker, first, b"next")
        assert self.take(staying, 1)[0].body == b"next"
        staying.ack(held)

    def test_settled_messages_leave_the_queue_empty(self, broker: Broker, queue: Queue) -> None:
        self.need(broker, BrokerCapability.SIZE)
        self.send(broker, queue, *(b"x" for _ in range(20)))
        consumer = broker.consumer([queue])
        found = self.take(consumer, 20)
        consumer.ack(found[:10])
        consumer.reject(found[10:15], requeue=False)
        consumer.close()
        eventually(lambda: broker.size([queue.name])[queue.name] == 5, within=self.patience, what="5 given back")
