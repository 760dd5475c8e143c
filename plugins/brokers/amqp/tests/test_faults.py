"""A connection that is cut or falls silent, garbage in a queue, and messages exchanged with kombu."""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

import amqp
import kombu
import pytest

from umbel_broker_amqp import AmqpBroker
from umbel_broker_amqp.content import unpack
from umbel_kernel.errors import OperationalError, PublishError
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue


def test_a_cut_connection_is_replaced_at_the_next_publish(broker: AmqpBroker, proxy: Any, queue: Queue) -> None:
    broker.publish([Message(b"1", queue.name)])
    proxy.cut()
    time.sleep(0.05)
    broker.publish([Message(b"2", queue.name)])
    assert broker.size([queue.name]) == {queue.name: 2}


def test_a_silent_server_ends_publish_in_time(broker: AmqpBroker, proxy: Any, queue: Queue) -> None:
    proxy.frozen.set()
    message = Message(b"1", queue.name)
    started = time.monotonic()
    with pytest.raises(PublishError) as caught:
        broker.publish([message, message], timeout=0.5)
    assert time.monotonic() - started < 2
    assert list(caught.value.failed) == [message, message]
    proxy.frozen.clear()
    broker.publish([message])


def test_a_waiting_receive_hears_of_the_end_and_loses_nothing(broker: AmqpBroker, proxy: Any, queue: Queue) -> None:
    broker.publish([Message(b"held", queue.name)])
    consumer = broker.consumer([queue])
    assert consumer.receive(1, 5)[0].body == b"held"
    threading.Timer(0.2, proxy.cut).start()
    started = time.monotonic()
    with pytest.raises(OperationalError):
        consumer.receive(1, 20)
    assert time.monotonic() - started < 5
    consumer.close()
    again = broker.consumer([queue])
    found = again.receive(1, 5)
    assert (found[0].body, found[0].redelivered) == (b"held", True)
    again.ack(found)


def test_a_deleted_queue_ends_receive(broker: AmqpBroker, queue: Queue) -> None:
    consumer = broker.consumer([queue])
    threading.Timer(0.2, lambda: broker.delete([queue.name])).start()
    with pytest.raises(OperationalError, match=queue.name):
        consumer.receive(1, 10)


def test_an_exchange_that_is_not_there_fails_the_batch(broker: AmqpBroker, queue: Queue) -> None:
    with pytest.raises(PublishError, match="no exchange"):
        broker.publish([Message(b"1", "key", f"nowhere-{uuid.uuid4().hex}")])
    broker.publish([Message(b"2", queue.name)])


def test_a_message_without_properties_is_delivered_as_it_is(amqp_url: str, broker: AmqpBroker, queue: Queue) -> None:
    parts = urlsplit(amqp_url)
    with amqp.Connection(f"{parts.hostname}:{parts.port}") as connection:
        connection.channel().basic_publish(amqp.Message(b"\xff\x00"), routing_key=queue.name)
    consumer = broker.consumer([queue])
    found = consumer.receive(1, 5)
    assert (found[0].body, found[0].content_type, found[0].headers) == (b"\xff\x00", "", {})
    consumer.ack(found)


@pytest.mark.parametrize("table", [b"\x04whenQ\x00", b"\xffcut", b"\x01aF\xff\xff\xff\xff", b"\x01aA\x00\x00\x00\x02Q"])
def test_headers_that_cannot_be_read_are_left_out(table: bytes) -> None:
    method = b"\x00\x3c\x00\x3c" + b"\x01c" + (7).to_bytes(8, "big") + b"\x00" + b"\x00" + b"\x01q"
    properties = b"\xa0\x00" + b"\x10application/json" + len(table).to_bytes(4, "big") + table
    found = unpack(method, b"\x00\x3c\x00\x00" + (1).to_bytes(8, "big") + properties, b"x", {"c": "queue"})
    assert (found.body, found.queue, found.tag, found.content_type, found.headers) == (b"x", "queue", 7, "", {})


def test_kombu_reads_what_we_write_and_the_reverse(amqp_url: str, broker: AmqpBroker, queue: Queue) -> None:
    headers = {"id": "1", "task": "a.b", "retries": 0, "timelimit": [None, 2.5], "eta": None, "stamps": {"a": [1]}}
    broker.publish(
        [Message(b"[[], {}, {}]", queue.name, headers=headers, correlation_id="1", reply_to="me", expiration=60)]
    )
    with kombu.Connection(amqp_url) as connection:
        theirs = kombu.Queue(queue.name)(connection.channel()).get()
        assert (json.loads(theirs.body), theirs.headers) == ([[], {}, {}], headers)
        ours = dict(theirs.properties)
        theirs.ack()
        connection.Producer().publish(
            [1, 2],
            routing_key=queue.name,
            headers=headers,
            correlation_id="1",
            reply_to="me",
            expiration=60,
            priority=0,
        )
        written = kombu.Queue(queue.name)(connection.channel()).get()
        assert dict(written.properties) == ours
        written.reject(requeue=True)
    consumer = broker.consumer([queue])
    found = consumer.receive(1, 5)
    assert json.loads(found[0].body) == [1, 2]
    assert (found[0].headers, found[0].correlation_id, found[0].reply_to) == (headers, "1", "me")
    assert (found[0].content_type, found[0].content_encoding) == ("application/json", "utf-8")
    consumer.ack(found)


def test_a_big_message_goes_in_many_frames(broker: AmqpBroker, queue: Queue) -> None:
    body = bytes(range(256)) * 4096
    broker.publish([Message(body, queue.name), Message(b"", queue.name)])
    consumer = broker.consumer([queue])
    found: list[Any] = []
    while len(found) < 2:
        found += consumer.receive(2 - len(found), 5)
    assert [d.body for d in found] == [body, b""]
    consumer.ack(found)


class Struck(BaseException):
    """What strikes in the middle, as a task's time limit does."""


def test_who_is_struck_while_writing_leaves_no_half_frame_behind(
    broker: AmqpBroker, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.publish([Message(b"before", queue.name)])
    write = os.write

    def strike(descriptor: int, data: bytes) -> int:
        write(descriptor, data[: len(data) // 2])
        raise Struck

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", strike)
        with pytest.raises(Struck):
            broker.publish([Message(b"torn", queue.name)])
    with pytest.raises(PublishError) as told:
        broker.publish([Message(b"after", queue.name)])
    assert [message.body for message in told.value.failed] == [b"torn", b"after"]
    broker.publish(told.value.failed)
    consumer = broker.consumer([queue])
    bodies: list[bytes] = []
    end = time.monotonic() + 20
    while b"after" not in bodies and time.monotonic() < end:
        bodies += [delivery.body for delivery in consumer.receive(10, 0.5)]
    consumer.close()
    assert bodies == [b"before", b"torn", b"after"]


def test_what_was_written_before_an_interruption_is_not_sent_again(
    broker: AmqpBroker, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.publish([Message(b"before", queue.name)])
    write = os.write

    def strike(descriptor: int, data: bytes) -> int:
        write(descriptor, data)
        raise Struck

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", strike)
        with pytest.raises(Struck):
            broker.post([Message(b"whole", queue.name)])
    broker.post([Message(b"after", queue.name)])
    broker.flush()
    assert broker.size([queue.name]) == {queue.name: 3}
