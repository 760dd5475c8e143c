"""Posting: messages whose confirmation is waited for later."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from umbel_kernel.spi.broker import Broker, BrokerCapability
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue
from umbel_testkit.background import together
from umbel_testkit.broker.case import BrokerCase, MakeBroker


class PostingSuite(BrokerCase):
    """Posting: messages whose confirmation is waited for later."""

    def test_all_that_was_posted_is_there_after_a_flush(
        self, broker: Broker, connect: MakeBroker, queue: Queue
    ) -> None:
        for number in range(100):
            broker.post([Message(str(number).encode(), queue.name)], timeout=self.patience)
        broker.flush(timeout=self.patience)
        if BrokerCapability.SIZE in broker.capabilities:
            assert connect().size([queue.name]) == {queue.name: 100}
        found = self.take(connect().consumer([queue]), 100)
        assert sorted(int(delivery.body) for delivery in found) == list(range(100))

    def test_posts_and_batches_keep_their_order(self, broker: Broker, queue: Queue) -> None:
        bodies = [str(number).encode() for number in range(60)]
        messages = [Message(body, queue.name) for body in bodies]
        for start in range(0, 60, 6):
            broker.post(messages[start : start + 1])
            broker.post(messages[start + 1 : start + 3])
            broker.publish(messages[start + 3 : start + 5])
            broker.post(messages[start + 5 : start + 6])
        broker.flush(timeout=self.patience)
        assert [delivery.body for delivery in self.take(broker.consumer([queue]), 60)] == bodies

    def test_posted_messages_arrive_without_a_flush(self, broker: Broker, queue: Queue) -> None:
        consumer = broker.consumer([queue])
        broker.post([Message(b"1", queue.name), Message(b"2", queue.name)])
        assert [delivery.body for delivery in self.take(consumer, 2)] == [b"1", b"2"]

    def test_a_broker_without_posts_of_its_own_publishes(
        self, broker: Broker, connect: MakeBroker, queue: Queue
    ) -> None:
        if type(broker).post is not Broker.post:
            pytest.skip(f"{type(broker).__name__} has a way of its own to post")
        self.need(broker, BrokerCapability.SIZE)
        broker.post([Message(b"1", queue.name), Message(b"2", queue.name)])
        assert connect().size([queue.name]) == {queue.name: 2}

    def test_posting_from_several_threads(self, broker: Broker, queue: Queue) -> None:
        def poster(thread: int) -> Callable[[], None]:
            def post() -> None:
                for number in range(30):
                    broker.post([Message(f"{thread}:{number}".encode(), queue.name)], timeout=self.patience)
                broker.flush(timeout=self.patience)

            return post

        together([poster(thread) for thread in range(4)], within=self.patience * 2)
        consumer = broker.consumer([queue])
        found = [tuple(map(int, delivery.body.split(b":"))) for delivery in self.take(consumer, 120)]
        for thread in range(4):
            assert [number for of, number in found if of == thread] == list(range(30)), f"thread {thread}"
        self.nothing(consumer)

    def test_nothing_posted_is_harmless(self, make_broker: MakeBroker, broker: Broker, queue: Queue) -> None:
        broker.post([])
        broker.flush()
        broker.flush()
        self.nothing(broker.consumer([queue]))
        idle = make_broker()
        idle.flush()
        idle.close()
