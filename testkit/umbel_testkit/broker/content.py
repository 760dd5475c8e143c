"""What goes in comes out: bodies, headers, properties."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from umbel_kernel.spi.broker import Broker
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue
from umbel_testkit.broker.case import BrokerCase

BODIES = {
    "empty": b"",
    "text": "příliš žluťoučký kůň 🐎".encode(),
    "every byte": bytes(range(256)) * 4,
    "one megabyte": b"umbel & \x00\xff" * 104858,
}
HEADERS: dict[str, dict[str, Any]] = {
    "none": {},
    "plain": {"lang": "py", "task": "proj.add", "retries": 0, "eta": None, "yes": True, "no": False, "half": 0.5},
    "text": {"příliš": "žluťoučký kůň 🐎", "empty": "", "quotes": "\"'\\\n\t\x01"},
    "numbers": {"big": 2**62, "negative": -(2**62), "int32": 2**31, "small": -1, "float": -1.5e300},
    "nested": {"timelimit": [None, 3.5], "stamps": {"a": [1, {"b": [None, "c"]}], "empty": {}}, "list": []},
    "long": {"argsrepr": "x" * 20_000},
}


class ContentSuite(BrokerCase):
    """What goes in comes out."""

    @pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
    def test_bodies_come_back(self, broker: Broker, queue: Queue, body: bytes) -> None:
        self.send(broker, queue, body, content_type="application/octet-stream", content_encoding="binary")
        found = self.take(broker.consumer([queue]), 1)[0].body
        assert type(found) is bytes
        assert len(found) == len(body)
        assert found == body, "the body came back changed"

    @pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS)
    def test_headers_come_back(self, broker: Broker, queue: Queue, headers: dict[str, Any]) -> None:
        self.send(broker, queue, b"{}", headers=headers)
        found = self.take(broker.consumer([queue]), 1)[0].headers
        assert found == headers
        assert {name: type(value) for name, value in found.items()} == {n: type(v) for n, v in headers.items()}

    def test_bytes_in_headers_come_back(self, broker: Broker, queue: Queue) -> None:
        self.send(broker, queue, b"{}", headers={"blob": b"\x00\xff binary"})
        assert self.take(broker.consumer([queue]), 1)[0].headers == {"blob": b"\x00\xff binary"}

    def test_properties_come_back(self, broker: Broker, queue: Queue) -> None:
        self.send(
            broker,
            queue,
            b"[[], {}, {}]",
            content_type="application/x-test",
            content_encoding="binary",
            correlation_id="7b0b3f8e-ž",
            reply_to="reply-here",
            priority=3,
        )
        found = self.take(broker.consumer([queue]), 1)[0]
        assert found.queue == queue.name
        assert found.routing_key == queue.name
        assert found.exchange == ""
        assert found.content_type == "application/x-test"
        assert found.content_encoding == "binary"
        assert found.correlation_id == "7b0b3f8e-ž"
        assert found.reply_to == "reply-here"
        assert found.priority == 3

    def test_a_message_without_properties_comes_back(self, broker: Broker, queue: Queue) -> None:
        self.send(broker, queue, b"{}")
        found = self.take(broker.consumer([queue]), 1)[0]
        assert (found.content_type, found.content_encoding) == ("application/json", "utf-8")
        assert (found.reply_to, found.headers) == (None, {})

    def test_unknown_properties_are_passed_over(self, broker: Broker, queue: Queue) -> None:
        self.send(broker, queue, b"taken", properties={"x-nobody-knows-this": "value"})
        assert self.take(broker.consumer([queue]), 1)[0].body == b"taken"

    def test_publishing_leaves_the_message_alone(self, broker: Broker, queue: Queue) -> None:
        message = Message(b"body", queue.name, headers={"list": [1, {"two": 2}]}, priority=1, properties={"x-n": 1})
        before = copy.deepcopy(message)
        broker.publish([message, message])
        assert message == before
        assert [found.body for found in self.take(broker.consumer([queue]), 2)] == [b"body", b"body"]

    def test_a_reader_cannot_change_what_is_sent_again(self, broker: Broker, queue: Queue) -> None:
        self.send(broker, queue, b"body", headers={"list": [1]})
        consumer = broker.consumer([queue])
        found = self.take(consumer, 1)
        found[0].headers["list"].append(2)
        consumer.reject(found, requeue=True)
        assert self.take(consumer, 1)[0].headers["list"] == [1]

    def test_an_empty_batch_is_harmless(self, broker: Broker, queue: Queue) -> None:
        broker.publish([])
        self.nothing(broker.consumer([queue]))
