"""Several consumers, threads, brokers and processes on one queue."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from umbel_kernel.spi.broker import Broker, BrokerCapability
from umbel_kernel.spi.topology import Queue
from umbel_testkit.background import together
from umbel_testkit.broker.case import BrokerCase, MakeBroker
from umbel_testkit.child import run_forked


class SharingSuite(BrokerCase):
    """Several consumers, threads, brokers and processes on one queue."""

    def test_another_broker_object_sees_the_queue(self, broker: Broker, connect: MakeBroker, queue: Queue) -> None:
        self.send(broker, queue, b"from one to the other")
        assert self.take(connect().consumer([queue]), 1)[0].body == b"from one to the other"

    def test_messages_outlive_the_connection(self, broker: Broker, connect: MakeBroker, queue: Queue) -> None:
        self.need(broker, BrokerCapability.PERSISTENT)
        self.send(broker, queue, b"1", b"2")
        broker.close()
        assert [found.body for found in self.take(connect().consumer([queue]), 2)] == [b"1", b"2"]

    def test_two_consumers_never_get_the_same_message(self, connect: MakeBroker, broker: Broker, queue: Queue) -> None:
        bodies = [str(number).encode() for number in range(300)]
        self.send(broker, queue, *bodies)

        def reader() -> Callable[[], list[bytes]]:
            consumer = connect().consumer([queue], prefetch=10)

            def read() -> list[bytes]:
                found: list[bytes] = []
                while batch := consumer.receive(7, self.quiet * 2):
                    found += [delivery.body for delivery in batch]
                    consumer.ack(batch)
                return found

            return read

        parts = together([reader() for _ in range(3)], within=self.patience * 2)
        assert sorted(body for part in parts for body in part) == sorted(bodies)

    def test_publish_from_several_threads(self, broker: Broker, queue: Queue) -> None:
        def publisher(thread: int) -> Callable[[], None]:
            def publish() -> None:
                for number in range(0, 30, 3):
                    self.send(broker, queue, *(f"{thread}:{n}".encode() for n in range(number, number + 3)))

            return publish

        together([publisher(thread) for thread in range(8)], within=self.patience * 2)
        consumer = broker.consumer([queue])
        found = [tuple(map(int, delivery.body.split(b":"))) for delivery in self.take(consumer, 240)]
        for thread in range(8):
            assert [number for of, number in found if of == thread] == list(range(30)), f"thread {thread}"
        self.nothing(consumer)

    def test_other_methods_from_several_threads(self, broker: Broker, queue: Queue) -> None:
        def work() -> None:
            for _ in range(5):
                broker.declare([queue])
                self.send(broker, queue, b"x")
                broker.purge([queue.name])

        together([work for _ in range(4)], within=self.patience * 2)
        broker.purge([queue.name])
        self.nothing(broker.consumer([queue]))

    def test_settling_while_others_publish(self, broker: Broker, queue: Queue) -> None:
        consumer = broker.consumer([queue])
        total = 200

        def publish() -> int:
            for number in range(total):
                self.send(broker, queue, str(number).encode())
            return total

        def read() -> int:
            seen: set[bytes] = set()
            end = time.monotonic() + self.patience
            while len(seen) < total and time.monotonic() < end:
                batch = consumer.receive(10, 0.5)
                seen |= {delivery.body for delivery in batch}
                consumer.ack(batch)
            return len(seen)

        assert together([publish, read], within=self.patience * 2) == [total, total]

    @pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    def test_a_forked_child_makes_its_own(self, broker: Broker, make_broker: MakeBroker, queue: Queue) -> None:
        self.need(broker, BrokerCapability.SHARED)
        consumer = broker.consumer([queue])
        self.nothing(consumer)

        def child() -> None:
            mine = make_broker()
            mine.connect(timeout=self.patience)
            self.send(mine, queue, b"from the child")
            mine.close()

        run_forked(child, within=self.patience)
        self.send(broker, queue, b"from the parent")
        assert sorted(found.body for found in self.take(consumer, 2)) == [b"from the child", b"from the parent"]
