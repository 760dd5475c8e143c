"""What the memory broker has of its own: named stores, a clock that is handed in, and AMQP's rules for queues."""

from __future__ import annotations

import enum
import itertools
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel_broker_memory import MemoryBroker
from umbel_broker_memory.exchange import topic_matches
from umbel_broker_memory.headers import freeze, thaw
from umbel_kernel.errors import ChannelError, ConfigurationError, EncodeError, NotSupported, OperationalError
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Binding, Exchange, Queue
from umbel_kernel.url import URL

_stores = itertools.count()


class Clock:
    """A clock that moves when it is told to."""

    now = 1000.0

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def url() -> URL:
    return URL.parse(f"memory://test-{next(_stores)}")


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("memory://", "memory", True),
        ("memory://a", "memory://a/", True),
        ("memory://a", "memory://b", False),
        ("memory://a", "memory://a/b", False),
        ("memory:///b", "memory://", False),
    ],
)
def test_one_path_is_one_store(first: str, second: str, same: bool) -> None:
    one, other = MemoryBroker(URL.parse(first)), MemoryBroker(URL.parse(second))
    one.publish([Message(b"x", "named-stores")])
    assert other.size(["named-stores"]) == {"named-stores": 1 if same else 0}
    one.delete(["named-stores"])


def test_leases_delays_and_expiry_go_by_the_clock(url: URL) -> None:
    clock = Clock()
    broker = MemoryBroker(url, {"memory_lease": 30.0}, clock=clock)
    broker.publish(
        [Message(b"held", "q"), Message(b"expires", "q", expiration=50.0), Message(b"later", "q", delay=60.0)]
    )
    holder, other = broker.consumer([Queue("q")]), broker.consumer([Queue("q")])
    held = holder.receive(1, 0)
    clock.now += 29
    holder.extend(held)
    clock.now += 29
    assert other.receive(5, 0) == []
    clock.now += 2
    found = other.receive(5, 0)
    assert [(delivery.body, delivery.redelivered) for delivery in found] == [(b"held", True), (b"later", False)]
    holder.ack(held)
    other.reject(found[:1], requeue=True, delay=10.0)
    assert other.receive(5, 0) == []
    clock.now += 10
    assert [delivery.body for delivery in other.receive(5, 0)] == [b"held"]


@pytest.mark.parametrize("lease", [0, -1, "-0.5"])
def test_a_lease_is_over_nought(url: URL, lease: Any) -> None:
    with pytest.raises(ConfigurationError, match="memory_lease"):
        MemoryBroker(url, {"memory_lease": lease})


def test_a_queue_that_exists_is_not_declared_otherwise(url: URL) -> None:
    broker = MemoryBroker(url)
    broker.declare([Queue("q", max_priority=5)])
    broker.declare([Queue("q", max_priority=5)])
    with pytest.raises(ChannelError, match="'q' exists with another max_priority"):
        broker.declare([Queue("q", max_priority=9)])
    with pytest.raises(ChannelError, match="'nowhere'"):
        broker.bind("nowhere", Exchange("x"), "key")


def test_an_exchange_keeps_its_type(url: URL) -> None:
    broker = MemoryBroker(url)
    broker.declare([Queue("q", (Binding(Exchange("x", "topic"), "#"),))])
    with pytest.raises(ChannelError, match="'x' exists with the type 'topic'"):
        broker.bind("q", Exchange("x", "fanout"))
    with pytest.raises(NotSupported, match="'headers'"):
        broker.bind("q", Exchange("y", "headers"))


def test_an_auto_delete_queue_goes_with_its_last_consumer(url: URL) -> None:
    broker = MemoryBroker(url)
    queue = Queue("q", (Binding(Exchange("x", "fanout", auto_delete=True)),), auto_delete=True)
    broker.declare([queue])
    first, second = broker.consumer([queue]), broker.consumer([queue])
    first.close()
    broker.publish([Message(b"kept", "", "x")])
    assert broker.size(["q"]) == {"q": 1}
    second.close()
    broker.publish([Message(b"lost", "", "x")])
    assert broker.size(["q"]) == {"q": 0}


def test_an_exclusive_queue_goes_with_its_connection(url: URL) -> None:
    owner, other = MemoryBroker(url), MemoryBroker(url)
    queue = Queue("reply", exclusive=True)
    owner.declare([queue])
    with pytest.raises(ChannelError, match="exclusive"):
        other.declare([queue])
    other.publish([Message(b"answer", "reply")])
    owner.close()
    assert other.size(["reply"]) == {"reply": 0}
    other.declare([queue])


def test_a_closed_consumer_says_so(url: URL) -> None:
    broker = MemoryBroker(url)
    consumer = broker.consumer([Queue("q")])
    consumer.close()
    with pytest.raises(OperationalError, match="closed"):
        consumer.receive(1, 0)


def test_rejected_messages_keep_their_order_in_front(url: URL) -> None:
    broker = MemoryBroker(url)
    broker.publish([Message(body, "q") for body in (b"1", b"2", b"3", b"4")])
    consumer = broker.consumer([Queue("q")])
    consumer.reject(consumer.receive(3, 0), requeue=True)
    assert [delivery.body for delivery in consumer.receive(9, 0)] == [b"1", b"2", b"3", b"4"]


WORD = st.sampled_from(["a", "b", "cc"])


@given(st.lists(WORD | st.sampled_from(["*", "#"]), min_size=1, max_size=5), st.lists(WORD, min_size=1, max_size=5))
def test_topics_match_as_amqp_says(pattern: list[str], words: list[str]) -> None:
    expression = "".join({"*": r"[^.]+\.", "#": r"([^.]+\.)*"}.get(word, re.escape(word) + r"\.") for word in pattern)
    expected = re.fullmatch(expression, ".".join(words) + ".") is not None
    assert topic_matches(".".join(pattern), ".".join(words)) == expected


class Colour(enum.StrEnum):
    RED = "red"


def test_headers_become_plain_data() -> None:
    headers = {"colour": Colour.RED, "pair": (1, [Colour.RED]), "level": enum.IntEnum("Level", "ONE").ONE}
    found = thaw(freeze(headers))
    assert found == {"colour": "red", "pair": [1, ["red"]], "level": 1}
    assert {type(value) for value in (found["colour"], found["pair"][1][0], found["level"])} == {str, int}


@pytest.mark.parametrize("value", [object(), {1, 2}, [Clock()]])
def test_headers_that_are_no_plain_data_are_refused(url: URL, value: Any) -> None:
    with pytest.raises(EncodeError, match=r"a header holds (object|set|Clock)"):
        MemoryBroker(url).publish([Message(b"", "q", headers={"x": value})])
