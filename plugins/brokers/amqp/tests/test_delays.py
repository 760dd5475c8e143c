"""Messages that wait in the broker."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from kombu.transport.native_delayed_delivery import calculate_routing_key

from umbel_broker_amqp import AmqpBroker
from umbel_broker_amqp.delays import ENTRY, LEVELS, LONGEST, Delays, arrived, waiting
from umbel_kernel.spi.broker import BrokerCapability
from umbel_kernel.spi.message import Delivery, Form, Message
from umbel_kernel.spi.topology import Binding, Exchange, Queue
from umbel_kernel.url import URL
from umbel_testkit.taking import take

QUORUM = {"x-queue-type": "quorum"}


@pytest.mark.parametrize("seconds", [1, 2, 3.99, 60, 86_400, 12_345_678, LONGEST, LONGEST + 1, 10**12])
def test_the_routing_key_is_kombus(seconds: float) -> None:
    found = waiting(Message(b"", "orders.eu", "shop", delay=seconds))
    assert found.exchange == ENTRY
    assert found.routing_key == calculate_routing_key(min(int(seconds), LONGEST), "orders.eu")
    assert (found.delay, found.form) == (None, None)


def test_a_message_that_waited_before_waits_again_without_its_traces() -> None:
    first = waiting(Message(b"", "key", "shop", delay=5, headers={"id": "1"}, expiration=3))
    deaths = [{"queue": "celery_delayed_2", "reason": "expired", "count": 1}]
    again = waiting(
        replace(first, exchange="shop", delay=9, headers={"id": "1", "x-death": deaths, "x-first-death-queue": "q"})
    )
    assert again.routing_key == calculate_routing_key(9, "key")
    assert again.headers == {"id": "1"}
    assert first.expiration is None


def test_what_arrives_looks_as_it_was_sent() -> None:
    deaths = [{"queue": f"celery_delayed_{level}"} for level in (3, 1)]
    key = ".".join("0" * LEVELS)
    delivery = Delivery(b"", "q", 1, f"{key}.umbel.q", "celery_delayed_0", headers={"a": 1, "x-death": deaths})
    arrived(delivery, None)
    assert (delivery.exchange, delivery.routing_key, delivery.headers) == ("", "q", {"a": 1})
    foreign = [{"queue": "mine", "reason": "rejected"}]
    delivery = Delivery(b"", "q", 1, f"{key}.orders", "celery_delayed_0", headers={"x-death": foreign})
    arrived(delivery, Queue("q", (Binding(Exchange("shop", "topic"), "#"), Binding(Exchange("directs"), "q"))))
    assert (delivery.exchange, delivery.routing_key) == ("shop", "orders")
    assert delivery.headers == {"x-death": foreign}
    delivery = Delivery(b"", "q", 1, f"{key}.orders", "celery_delayed_0")
    arrived(delivery, Queue("q", (Binding(Exchange("a", "topic"), "#"), Binding(Exchange("b", "topic"), "#"))))
    assert (delivery.exchange, delivery.routing_key) == ("", "q")


def test_which_messages_can_wait() -> None:
    topic = Queue("t", (Binding(Exchange("topics", "topic"), "a.#"),), arguments=QUORUM)
    direct = Queue("d", (Binding(Exchange("directs", "direct"), "d"),))
    delays = Delays([topic, direct])
    assert delays.used
    assert not Delays([direct]).used

    def through(key: str, exchange: str = "", delay: float | None = 5) -> Any:
        return delays.through(Message(b"", key, exchange, delay=delay))

    assert through("d") == [direct]
    assert through("a.b", "topics") == [topic]
    assert through("d", "directs") is None
    assert through("x", "unknown") is None
    assert through("d", delay=0.9) is None
    assert through("d", delay=None) is None
    assert through("q" * 193) is not None
    assert through("q" * 192 + "é") is None
    assert through("all.*") is None


@pytest.fixture
def names(direct: AmqpBroker) -> Iterator[list[str]]:
    made = [f"delays-{uuid.uuid4().hex}" for _ in range(3)]
    yield made
    direct.delete(made)


def test_no_queue_gets_what_waits_for_another_whose_name_ends_alike(direct: AmqpBroker, names: list[str]) -> None:
    short, long = names[0], f"{names[1]}.{names[0]}"
    names.append(long)
    queues = [Queue(name, arguments=QUORUM) for name in (short, long)]
    direct.declare(queues)
    consumers = [direct.consumer([queue]) for queue in queues]
    direct.publish([Message(b"short", short, delay=1), Message(b"long", long, delay=1)])
    assert [delivery.body for delivery in take(consumers[1], 1)] == [b"long"]
    assert [delivery.body for delivery in take(consumers[0], 1)] == [b"short"]
    for consumer in consumers:
        assert consumer.receive(5, 0.5) == []


def test_messages_of_one_form_wait_each_for_its_own_time(direct: AmqpBroker, names: list[str]) -> None:
    queue = Queue(names[0], arguments=QUORUM)
    direct.declare([queue])
    consumer = direct.consumer([queue])
    form = Form(())
    sent = time.monotonic()
    for number in range(8):
        message = Message(b"%d" % number, queue.name, delay=float(number % 4))
        message.form = form
        direct.post([message])
    direct.flush()
    found = {}
    while len(found) < 8:
        for delivery in take(consumer, 1):
            found[int(delivery.body)] = time.monotonic() - sent
    for number, took in found.items():
        assert number % 4 - 0.05 <= took < number % 4 + 2


def test_a_classic_queue_waits_too_once_a_quorum_queue_is_known(direct: AmqpBroker, names: list[str]) -> None:
    classic = Queue(names[1], (Binding(Exchange(names[2], "topic"), "orders.#"),))
    direct.declare([classic])
    assert BrokerCapability.DELAY not in direct.capabilities
    direct.publish([Message(b"not kept", classic.name, delay=60)])
    assert direct.size([classic.name]) == {classic.name: 1}
    direct.purge([classic.name])
    direct.declare([Queue(names[0], arguments=QUORUM)])
    assert BrokerCapability.DELAY in direct.capabilities
    consumer = direct.consumer([classic])
    direct.publish([Message(b"straight", classic.name, delay=1), Message(b"topic", "orders.eu", names[2], delay=2)])
    assert consumer.receive(5, 0.5) == []
    found = take(consumer, 2)
    assert [(each.body, each.exchange, each.routing_key) for each in found] == [
        (b"straight", "", classic.name),
        (b"topic", names[2], "orders.eu"),
    ]
    with direct._outlet.side(5) as channel:
        channel.exchange_delete(names[2])


def test_what_a_consumer_sends_to_wait_keeps_all_it_has(direct: AmqpBroker, names: list[str]) -> None:
    queue = Queue(names[0], arguments=QUORUM)
    direct.declare([queue])
    consumer = direct.consumer([queue])
    headers = {"id": "1", "task": "a.b", "timelimit": [None, 2.5]}
    sent = Message(
        b"body",
        queue.name,
        "",
        "text/plain",
        "ascii",
        headers,
        "cid",
        "me",
        3,
        1,
        properties={"message_id": "m", "type": "t", "app_id": "a", "timestamp": 7},
    )
    direct.publish([sent])
    (held,) = consumer.receive(1, 5)
    consumer.reject([held], requeue=True, delay=1)
    assert consumer.receive(1, 0.5) == []
    (found,) = consumer.receive(1, 5)
    for name in ("body", "content_type", "content_encoding", "headers", "correlation_id", "reply_to", "properties"):
        assert getattr(found, name) == getattr(held, name), name
    assert (found.redelivered, found.queue, found.headers) == (False, queue.name, headers)
    consumer.ack([found])
    assert consumer.receive(1, 0.5) == []
    assert direct.size([queue.name]) == {queue.name: 0}


def test_who_holds_what_is_to_wait_and_ends_loses_nothing(direct: AmqpBroker, names: list[str]) -> None:
    queue = Queue(names[0], arguments=QUORUM)
    direct.declare([queue])
    consumer = direct.consumer([queue])
    direct.publish([Message(b"1", queue.name)])
    held = consumer.receive(1, 5)
    consumer.reject(held, requeue=True, delay=30)
    consumer.close()
    assert [delivery.body for delivery in take(direct.consumer([queue]), 1)] == [b"1"]


def test_a_server_that_forbids_it_leaves_the_waiting_to_the_workers(
    direct: AmqpBroker, names: list[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queue = Queue(names[0], arguments=QUORUM)
    direct.declare([queue])

    def refused(channel: Any, queue: Queue) -> None:
        channel.exchange_declare("amq.rabbitmq.trace", "fanout", durable=True, auto_delete=True)

    monkeypatch.setattr("umbel_broker_amqp.broker.bind", refused)
    consumer = direct.consumer([queue])
    assert BrokerCapability.DELAY not in direct.capabilities
    assert "cannot wait in the broker" in caplog.text
    direct.publish([Message(b"1", queue.name, delay=60)])
    assert [delivery.body for delivery in take(consumer, 1)] == [b"1"]


def test_queues_by_which_workers_talk_are_left_alone(amqp_url: str, names: list[str]) -> None:
    lasting = Queue(names[0], arguments=QUORUM)
    made = AmqpBroker(URL.parse(amqp_url), {"broker_queues": (lasting,)})
    assert BrokerCapability.DELAY in made.capabilities
    mailbox = Queue(names[1], (Binding(Exchange(f"{names[1]}-all", "fanout", durable=False)),), auto_delete=True)
    made.declare([mailbox])
    made.consumer([mailbox])
    assert made._ways[1] == set()
    with made._outlet.side(5) as channel:
        channel.exchange_delete(f"{names[1]}-all")
    made.close()
