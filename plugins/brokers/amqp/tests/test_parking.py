"""What consumers send to wait, in queues of umbel's own."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from umbel_broker_amqp import AmqpBroker
from umbel_broker_amqp.parking import PARKED, arrived, parked, place
from umbel_kernel.errors import ChannelError, NotSupported
from umbel_kernel.spi.message import Delivery, Message
from umbel_kernel.spi.topology import Binding, Exchange, Queue
from umbel_testkit.taking import take


@pytest.fixture
def name(direct: AmqpBroker) -> Iterator[str]:
    made = f"parking-{uuid.uuid4().hex}"
    yield made
    direct.delete([made])


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (1, 1),
        (1.99, 1),
        (2, 2),
        (7.9, 7),
        (8, 8),
        (11, 8),
        (12, 12),
        (1023, 768),
        (1024, 1024),
        (32_768, 32_768),
        (10**9, 32_768),
    ],
)
def test_a_message_waits_in_the_longest_queue_that_is_not_too_long(seconds: float, expected: int) -> None:
    assert place(seconds, quorum=False) == f"umbel.parked.{expected}"
    assert place(seconds, quorum=True) == f"umbel.parked.quorum.{expected}"


def test_what_arrives_looks_as_it_was_sent() -> None:
    sent = Delivery(b"body", "q", 1, "key", "exchange", headers={"id": "1"}, properties={"delivery_mode": 1})
    message = parked(sent, 100, quorum=False)
    assert (message.exchange, message.routing_key, message.delivery_mode) == ("umbel.parked.96", "q", 1)
    mine = {"queue": "umbel.parked.96", "reason": "expired", "count": 1}
    traces = {f"x-{when}-death-{what}": "umbel.parked.96" for when in ("first", "last") for what in ("queue", "reason")}
    found = Delivery(b"body", "q", 2, "q", "", headers={**message.headers, **traces, "x-death": [mine]})
    assert 98 < arrived(found) < 100.01
    assert (found.exchange, found.routing_key, found.headers) == ("exchange", "key", {"id": "1"})
    theirs = {"queue": "mine", "reason": "rejected"}
    found = Delivery(b"", "q", 3, headers={"x-first-death-queue": "mine", "x-death": [mine, theirs]})
    assert arrived(found) == 0
    assert found.headers == {"x-first-death-queue": "mine", "x-death": [theirs]}


@pytest.mark.parametrize("said", [None, 1, [1], ["1", "", ""], [10**15, "", None], [True, "", ""], {"a": 1}])
def test_a_mark_that_is_none_of_ours_is_taken_off(said: Any) -> None:
    found = Delivery(b"", "q", 1, "key", "exchange", headers={PARKED: said})
    assert arrived(found) == 0
    assert (found.exchange, found.routing_key, found.headers) == ("exchange", "key", {})


@pytest.mark.parametrize("arguments", [{}, {"x-queue-type": "quorum"}], ids=["classic", "quorum"])
def test_a_message_keeps_all_it_has_and_goes_from_queue_to_queue_until_its_time(
    direct: AmqpBroker, name: str, arguments: dict[str, Any]
) -> None:
    topic = Exchange(f"{name}-topic", "topic")
    queue = Queue(name, (Binding(topic, "a.#"),), arguments=arguments)
    direct.declare([queue])
    consumer = direct.consumer([queue])
    headers = {"id": "1", "task": "a.b", "timelimit": [None, 2.5]}
    direct.publish([Message(b"body", "a.b", topic.name, "text/plain", "ascii", headers, "cid", "me", 3)])
    (held,) = take(consumer, 1)
    began = time.monotonic()
    consumer.reject([held], requeue=True, delay=3.9)
    (found,) = take(consumer, 1)
    assert time.monotonic() - began >= 2.8
    for field in ("body", "content_type", "content_encoding", "headers", "correlation_id", "reply_to", "properties"):
        assert getattr(found, field) == getattr(held, field), field
    assert (found.exchange, found.routing_key, found.redelivered) == (topic.name, "a.b", False)
    consumer.ack([found])
    assert consumer.receive(1, 0.5) == []
    assert direct.size([name]) == {name: 0}
    with direct._outlet.side(5) as channel:
        channel.exchange_delete(topic.name)


def test_what_a_worker_of_celery_gets_too_early_is_a_task_like_any_other(direct: AmqpBroker, name: str) -> None:
    direct.declare([Queue(name)])
    consumer = direct.consumer([Queue(name)])
    headers = {"id": "1", "task": "a.b", "eta": "2100-01-01T00:00:00+00:00"}
    direct.publish([Message(b"body", name, headers=headers)])
    consumer.reject(take(consumer, 1), requeue=True, delay=1.9)
    assert consumer.receive(1, 0.1) == []
    consumer.close()
    with direct._outlet.side(5) as channel:
        end = time.monotonic() + 20
        while (found := channel.basic_get(name, no_ack=True)) is None and time.monotonic() < end:
            time.sleep(0.05)
    assert found is not None and found.body == "body"
    assert {key: found.headers[key] for key in headers} == headers


def test_a_server_that_forbids_it_leaves_the_waiting_to_the_worker(
    direct: AmqpBroker, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refused(channel: Any, name: str) -> None:
        raise ChannelError("ACCESS_REFUSED")

    direct.declare([Queue(name)])
    consumer = direct.consumer([Queue(name)])
    direct.publish([Message(b"1", name)])
    held = take(consumer, 1)
    monkeypatch.setattr("umbel_broker_amqp.parking._lay_out", refused)
    with pytest.raises(NotSupported):
        consumer.reject(held, requeue=True, delay=60)
    assert "cannot be sent to wait" in caplog.text
    assert consumer.receive(1, 0.2) == []
    consumer.ack(held)
    assert direct.size([name]) == {name: 0}
