"""Deliveries made with what is known of earlier ones: the same as without, whatever a stranger sends."""

from __future__ import annotations

import uuid
from dataclasses import asdict, replace
from typing import Any

import pytest
from amqp.serialization import dumps
from hypothesis import given
from hypothesis import strategies as st

from umbel_broker_amqp import unpacker
from umbel_broker_amqp.content import body_size, pack, unpack
from umbel_broker_amqp.unpacker import Unpacker
from umbel_kernel.spi.message import Message

QUEUES = {"c": "queue", "d": "other"}
TEXTS = st.sampled_from(("", "a", "b", "a longer text", "š"))
VALUES = st.none() | TEXTS | st.sampled_from((0, 1, -5, 2**40, True, 1.5, [None, None], [[]], {}, {"k": 1}, b"\xff"))
MESSAGES = st.builds(
    Message,
    body=st.just(b"x"),
    routing_key=TEXTS,
    exchange=TEXTS,
    content_type=st.sampled_from(("application/json", "text/plain", "")),
    headers=st.dictionaries(st.sampled_from(("id", "task", "retries", "stamps")), VALUES),
    correlation_id=st.none() | TEXTS,
    reply_to=st.none() | TEXTS,
    priority=st.sampled_from((None, 1)),
    delivery_mode=st.sampled_from((1, 2)),
    expiration=st.sampled_from((None, 1)),
)


def method(tag: int = 1, consumer: str = "c", again: bool = False, exchange: str = "", key: str = "key") -> bytes:
    return b"\x00\x3c\x00\x3c" + bytes(dumps("sLbss", (consumer, tag, again, exchange, key)))


def header(message: Message) -> bytes:
    """The content header of a message."""
    data = pack(message, 1, 100_000)
    at = 8 + int.from_bytes(data[3:7], "big")
    return data[at + 7 : at + 7 + int.from_bytes(data[at + 3 : at + 7], "big")]


def task(**fields: Any) -> Message:
    """A message such as tasks have."""
    number = str(uuid.uuid4())
    headers = {
        "lang": "py",
        "task": "site.add",
        "id": number,
        "shadow": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": number,
        "argsrepr": "(1, 2)",
        "stamps": {},
        **fields.pop("headers", {}),
    }
    given: dict[str, Any] = {"headers": headers, "correlation_id": number, "reply_to": "me", **fields}
    return Message(b"[]", "key", **given)


@pytest.fixture
def plainly(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each delivery that was read without the help of others."""
    found: list[int] = []

    def noted(*args: Any) -> Any:
        found.append(1)
        return unpack(*args)

    monkeypatch.setattr(unpacker, "unpack", noted)
    return found


@given(st.lists(st.tuples(MESSAGES, st.sampled_from(("c", "d")), st.booleans()), min_size=2, max_size=12))
def test_it_makes_no_difference(sent: list[tuple[Message, str, bool]]) -> None:
    made = Unpacker(QUEUES)
    for _ in range(2):
        for tag, (message, consumer, again) in enumerate(sent):
            frame = method(tag, consumer, again, message.exchange, message.routing_key)
            found = made.unpack(frame, header(message), b"x")
            assert asdict(found) == asdict(unpack(frame, header(message), b"x", QUEUES))
            assert list(found.headers) == list(message.headers)


@given(st.data())
def test_nor_where_bytes_are_wrong(data: st.DataObject) -> None:
    made = Unpacker(QUEUES)
    whole = b""
    for number in range(3):
        whole = header(task(headers={"argsrepr": "x" * number, "retries": number}))
        made.unpack(method(), whole, b"[]")
    for _ in range(20):
        at = data.draw(st.integers(12, len(whole) - 1))
        wrong = whole[:at] + data.draw(st.binary(max_size=4)) + whole[data.draw(st.integers(at, len(whole))) :]
        assert asdict(made.unpack(method(), wrong, b"[]")) == asdict(unpack(method(), wrong, b"[]", QUEUES))


def test_tasks_are_read_with_what_is_known(plainly: list[int]) -> None:
    made = Unpacker(QUEUES)
    for number in range(200):
        headers = {"task": f"site.t{number % 7}", "retries": number % 3, "argsrepr": f"({10 ** (number % 9)},)"}
        message = task(headers=headers, reply_to=f"client {number % 5}")
        found = made.unpack(method(number), header(message), message.body)
        assert found.headers == message.headers and body_size(header(message)) == len(found.body)
        assert (found.correlation_id, found.reply_to) == (message.correlation_id, message.reply_to)
        assert (found.tag, found.queue, found.routing_key) == (number, "queue", "key")
    assert len(plainly) < 15


def test_each_delivery_has_its_own_headers() -> None:
    made = Unpacker(QUEUES)
    for _ in range(4):
        message = task()
        found = made.unpack(method(), header(message), message.body)
        assert found.headers == message.headers
        assert found.properties == {"delivery_mode": 2}
        found.headers["timelimit"].append(1)
        found.headers["stamps"]["mine"] = 1
        del found.headers["lang"]
        found.properties["mine"] = 1


def test_what_differs_in_all_messages_is_not_learned_for_ever(plainly: list[int]) -> None:
    made = Unpacker(QUEUES)
    for number in range(300):
        made.unpack(method(), header(task(headers={f"x{number}": None})), b"")
        made.unpack(method(key=f"key {number}"), header(task()), b"")
    assert len(made._layouts) == unpacker._MOST_LAYOUTS
    assert len(made._places) <= unpacker._MOST_PLACES
    # After a thousand that fit none, others are learned.
    new = replace(task(), headers={"id": "1"})
    for _ in range(unpacker._ANEW):
        made.unpack(method(), header(new), b"")
    plainly.clear()
    made.unpack(method(), header(new), b"")
    assert not plainly
