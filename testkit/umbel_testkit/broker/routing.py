"""Exchanges and bindings."""

from __future__ import annotations

import pytest

from umbel_kernel.errors import NotSupported
from umbel_kernel.spi.broker import Broker, BrokerCapability
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Binding, Exchange, Queue
from umbel_testkit.broker.case import BrokerCase, NewQueue

TOPICS = [
    ("news.sport", "news.sport", True),
    ("news.sport", "news.weather", False),
    ("news.*", "news.sport", True),
    ("news.*", "news.sport.hockey", False),
    ("news.*", "news", False),
    ("*.sport", "news.sport", True),
    ("news.#", "news.sport.hockey", True),
    ("news.#", "news", True),
    ("#", "anything.at.all", True),
    ("#.hockey", "news.sport.hockey", True),
    ("#.hockey", "hockey", True),
    ("news.*.hockey", "news.sport.hockey", True),
    ("news.*.hockey", "news.hockey", False),
    ("a+c", "abc", False),
]


class RoutingSuite(BrokerCase):
    """Exchanges and bindings."""

    def exchange(self, kind: str) -> Exchange:
        """An exchange of a unique name, that goes with its last queue."""
        return Exchange(self.unique(kind), kind, auto_delete=True)

    def test_the_default_exchange_goes_straight_to_the_queue(self, broker: Broker, new_queue: NewQueue) -> None:
        first, second = new_queue(broker), new_queue(broker)
        broker.publish([Message(b"for second", second.name), Message(b"for first", first.name)])
        here, there = broker.consumer([first]), broker.consumer([second])
        got_first, got_second = self.take(here, 1)[0], self.take(there, 1)[0]
        assert (got_first.body, got_first.queue) == (b"for first", first.name)
        assert (got_second.body, got_second.queue) == (b"for second", second.name)
        self.nothing(here)

    def test_a_direct_exchange_matches_the_whole_key(self, broker: Broker, new_queue: NewQueue) -> None:
        exchange = self.exchange("direct")
        red = new_queue(broker, bindings=(Binding(exchange, "red"), Binding(exchange, "both")))
        blue = new_queue(broker, bindings=(Binding(exchange, "blue"), Binding(exchange, "both")))
        for key in ("red", "blue", "both", "redder", "re", ""):
            broker.publish([Message(key.encode(), key, exchange.name)])
        reds, blues = broker.consumer([red]), broker.consumer([blue])
        assert [found.body for found in self.take(reds, 2)] == [b"red", b"both"]
        assert [found.body for found in self.take(blues, 2)] == [b"blue", b"both"]
        self.nothing(reds)
        self.nothing(blues)

    def test_the_same_binding_twice_gives_one_copy(self, broker: Broker, new_queue: NewQueue) -> None:
        exchange = self.exchange("direct")
        queue = new_queue(broker, bindings=(Binding(exchange, "key"),))
        broker.declare([queue])
        broker.bind(queue.name, exchange, "key")
        broker.publish([Message(b"once", "key", exchange.name)])
        consumer = broker.consumer([queue])
        assert self.take(consumer, 1)[0].body == b"once"
        self.nothing(consumer)

    def test_bind_adds_to_a_queue_that_is_there(self, broker: Broker, queue: Queue) -> None:
        exchange = self.exchange("direct")
        broker.bind(queue.name, exchange, "later")
        broker.publish([Message(b"through the binding", "later", exchange.name)])
        found = self.take(broker.consumer([queue]), 1)[0]
        assert (found.body, found.exchange, found.routing_key) == (b"through the binding", exchange.name, "later")

    def test_what_no_queue_is_bound_for_is_dropped(self, broker: Broker, new_queue: NewQueue) -> None:
        exchange = self.exchange("direct")
        queue = new_queue(broker, bindings=(Binding(exchange, "key"),))
        broker.publish([Message(b"lost", "elsewhere", exchange.name), Message(b"kept", "key", exchange.name)])
        consumer = broker.consumer([queue])
        assert self.take(consumer, 1)[0].body == b"kept"
        self.nothing(consumer)

    def test_a_deleted_queue_gets_no_more_copies(self, broker: Broker, new_queue: NewQueue) -> None:
        exchange = self.exchange("direct")
        gone = new_queue(broker, bindings=(Binding(exchange, "key"),))
        kept = new_queue(broker, bindings=(Binding(exchange, "key"),))
        broker.delete([gone.name])
        broker.publish([Message(b"for one", "key", exchange.name)])
        assert self.take(broker.consumer([kept]), 1)[0].body == b"for one"
        broker.declare([Queue(gone.name)])
        self.nothing(broker.consumer([gone]))

    def test_topic_patterns(self, broker: Broker, new_queue: NewQueue) -> None:
        self.need(broker, BrokerCapability.TOPIC)
        for pattern in dict.fromkeys(pattern for pattern, _, _ in TOPICS):
            exchange = self.exchange("topic")
            queue = new_queue(broker, bindings=(Binding(exchange, pattern),))
            keys = [(key, matches) for of, key, matches in TOPICS if of == pattern]
            broker.publish([Message(key.encode(), key, exchange.name) for key, _ in keys])
            self.send(broker, queue, b"the end")
            found = [delivery.body.decode() for delivery in self._until_end(broker, queue)]
            assert found == [key for key, matches in keys if matches], f"the pattern {pattern!r}"

    def _until_end(self, broker: Broker, queue: Queue) -> list[Message]:
        consumer = broker.consumer([queue])
        found: list[Message] = []
        while (delivery := self.take(consumer, 1)[0]).body != b"the end":
            found.append(Message(delivery.body, delivery.routing_key))
        consumer.close()
        return found

    def test_overlapping_topics_give_one_copy(self, broker: Broker, new_queue: NewQueue) -> None:
        self.need(broker, BrokerCapability.TOPIC)
        exchange = self.exchange("topic")
        queue = new_queue(broker, bindings=(Binding(exchange, "a.*"), Binding(exchange, "a.#"), Binding(exchange, "#")))
        broker.publish([Message(b"once", "a.b", exchange.name)])
        consumer = broker.consumer([queue])
        assert self.take(consumer, 1)[0].body == b"once"
        self.nothing(consumer)

    def test_fanout_reaches_every_reader(self, broker: Broker, new_queue: NewQueue) -> None:
        self.need(broker, BrokerCapability.FANOUT)
        exchange = self.exchange("fanout")
        readers = [broker.consumer([new_queue(broker, bindings=(Binding(exchange),))]) for _ in range(3)]
        for reader in readers:
            self.nothing(reader)
        broker.publish([Message(b"to all", "any key", exchange.name, headers={"n": 1})])
        for reader in readers:
            found = self.take(reader, 1)[0]
            assert (found.body, found.headers) == (b"to all", {"n": 1})
            reader.ack([found])
        for reader in readers:
            self.nothing(reader)

    @pytest.mark.parametrize("capability", [BrokerCapability.TOPIC, BrokerCapability.FANOUT])
    def test_an_unclaimed_exchange_type_is_refused(self, broker: Broker, capability: BrokerCapability) -> None:
        if capability in broker.capabilities:
            pytest.skip(f"{type(broker).__name__} declares {capability.name}")
        queue = Queue(self.unique("queue"), (Binding(self.exchange(capability.value), "key"),))
        with pytest.raises(NotSupported):
            broker.declare([queue])
