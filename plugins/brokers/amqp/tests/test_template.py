"""Messages of one form: written from a template, they are the frames that each would be written to alone."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from umbel_broker_amqp import AmqpBroker
from umbel_broker_amqp.content import pack
from umbel_broker_amqp.template import Template
from umbel_kernel.errors import EncodeError
from umbel_kernel.spi.message import Form, Message
from umbel_kernel.spi.topology import Queue

FORM = Form(("id", "args", "more"))
FRAME_MAX = 131_072


def message(queue: str = "q", **changes: Any) -> Message:
    headers = {"lang": "py", "id": "one", "none": None, "limits": [None, 3.5], "args": "()", "more": None, "é": 1}
    headers |= changes.pop("headers", {})
    members: dict[str, Any] = {"correlation_id": "one", "reply_to": "me", "form": FORM, "body": b"[]", **changes}
    return Message(routing_key=queue, headers=headers, **members)


COMMON: list[dict[str, Any]] = [
    {},
    {"exchange": "e", "priority": 7, "expiration": 2.5, "delivery_mode": 1, "content_type": "application/x-ü"},
    {"reply_to": None, "properties": {"type": "t", "timestamp": 5, "app_id": "a", "unknown": 1}},
]
OTHERS: list[dict[str, Any]] = [
    {},
    {"body": bytes(range(256)) * 50},
    {"correlation_id": "ünïcode " * 20},
    {"headers": {"id": "x" * 70_000, "args": "(1, 'é', '\ud800')"}},
    {"headers": {"more": {"deep": [1, 2.5, True, None, b"\xff", "é"]}, "id": 5, "args": b"bytes"}},
]


@pytest.mark.parametrize("form", [FORM, Form(()), Form(("lang",)), Form(("lang", "id", "none", "limits", "é", "args"))])
@pytest.mark.parametrize("common", COMMON)
def test_a_template_writes_what_pack_writes(common: dict[str, Any], form: Form) -> None:
    template = Template(message(form=form, **common), 1)
    for other in OTHERS:
        headers = {name: value for name, value in other.get("headers", {}).items() if name in form.varying}
        wanted = message(**{**common, **other, "form": form, "headers": headers})
        assert template.frames(wanted, FRAME_MAX) == pack(wanted, 1, FRAME_MAX)


@pytest.mark.parametrize("other", [{"body": b""}, {"body": b"x" * FRAME_MAX}, {"correlation_id": None}])
def test_what_a_template_is_not_made_for(other: dict[str, Any]) -> None:
    assert Template(message(), 1).frames(message(**other), FRAME_MAX) is None


@pytest.mark.parametrize("other", [{"correlation_id": "x" * 256}, {"headers": {"more": object()}}])
def test_what_does_not_fit_is_refused(other: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        Template(message(), 1).frames(message(**other), FRAME_MAX)


@pytest.fixture
def queue(direct: AmqpBroker) -> Iterator[Queue]:
    found = Queue(f"template-{uuid.uuid4().hex}", expires=60.0)
    direct.declare([found])
    yield found
    direct.delete([found.name])


def test_messages_of_several_forms_arrive_as_they_are(direct: AmqpBroker, queue: Queue) -> None:
    other = Form(("id", "args"))
    sent: list[Message] = []
    for number in range(40):
        identity = {"id": f"id {number}", "args": f"({number},)"}
        for form, mark in ((FORM, None), (other, "fixed")):
            body = b"" if number == 20 else str(number).encode() * (100_000 if number == 30 else 1)
            correlation = None if number == 25 else identity["id"]
            headers = {**identity, "more": mark}
            sent.append(message(queue.name, form=form, body=body, correlation_id=correlation, headers=headers))
    for each in sent[:40]:
        direct.post([each])
    direct.publish(sent[40:])
    consumer = direct.consumer([queue])
    found: list[Any] = []
    while batch := consumer.receive(100, 1.0):
        found += batch
        consumer.ack(batch)
    consumer.close()
    assert [(each.body, each.headers, each.correlation_id) for each in found] == [
        (each.body, each.headers, each.correlation_id) for each in sent
    ]


def test_a_header_that_cannot_be_written_harms_no_other(direct: AmqpBroker, queue: Queue) -> None:
    for number in range(4):
        direct.post([message(queue.name, headers={"id": str(number)})])
    with pytest.raises(EncodeError):
        direct.post([message(queue.name, headers={"more": object()})])
    direct.post([message(queue.name)])
    direct.flush()
    assert direct.size([queue.name]) == {queue.name: 5}
