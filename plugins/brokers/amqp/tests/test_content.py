"""Messages with their properties against py-amqp, in both directions."""

from __future__ import annotations

from struct import pack as pack_struct
from typing import Any

import amqp
from amqp.serialization import decode_properties_basic, dumps, loads
from hypothesis import given
from hypothesis import strategies as st

from umbel_broker_amqp.content import pack, unpack
from umbel_kernel.spi.message import Message

SHORT = st.text(st.characters(blacklist_categories=("Cs",)), max_size=60)
HEADERS = st.dictionaries(SHORT, st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | SHORT, max_size=5)
PROPERTIES = st.fixed_dictionaries(
    {},
    optional={
        "message_id": SHORT,
        "timestamp": st.integers(0, 2**64 - 1),
        "type": SHORT,
        "user_id": SHORT,
        "app_id": SHORT,
    },
)
MESSAGES = st.builds(
    Message,
    body=st.binary(max_size=300),
    routing_key=SHORT,
    exchange=SHORT,
    content_type=SHORT,
    content_encoding=SHORT,
    headers=HEADERS,
    correlation_id=st.none() | SHORT,
    reply_to=st.none() | SHORT,
    priority=st.none() | st.integers(0, 255),
    delivery_mode=st.sampled_from((1, 2)),
    expiration=st.none() | st.integers(0, 10**9),
    properties=PROPERTIES,
)


def frames(data: bytes) -> list[tuple[int, int, bytes]]:
    """The frames of a stream: kind, channel and payload."""
    found = []
    at = 0
    while at < len(data):
        stop = at + 7 + int.from_bytes(data[at + 3 : at + 7], "big")
        assert data[stop] == 0xCE
        found.append((data[at], int.from_bytes(data[at + 1 : at + 3], "big"), data[at + 7 : stop]))
        at = stop + 1
    return found


@given(MESSAGES, st.integers(40, 400))
def test_py_amqp_reads_what_is_written(message: Message, room: int) -> None:
    (kind, channel, method), (second, _, header), *bodies = frames(pack(message, 7, room + 8))
    assert (kind, channel, second) == (1, 7, 2)
    assert method[:4] == b"\x00\x3c\x00\x28"
    _, exchange, key, mandatory, immediate = loads("Bssbb", method, 4)[0]
    assert (exchange, key, mandatory, immediate) == (message.exchange, message.routing_key, not exchange, False)
    assert header[:12] == pack_struct(">HHQ", 60, 0, len(message.body))
    found, end = decode_properties_basic(header, 12)
    assert end == len(header)
    wanted: dict[str, Any] = {
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
        "application_headers": message.headers,
        "delivery_mode": message.delivery_mode,
        "priority": message.priority or 0,
        **message.properties,
    }
    for name in ("correlation_id", "reply_to"):
        if getattr(message, name) is not None:
            wanted[name] = getattr(message, name)
    if message.expiration is not None:
        wanted["expiration"] = str(int(message.expiration * 1000))
    assert found == wanted
    assert {kind for kind, _, _ in bodies} <= {3}
    assert all(len(payload) <= room for _, _, payload in bodies)
    assert b"".join(payload for _, _, payload in bodies) == message.body


@given(MESSAGES, st.integers(1, 2**63), st.booleans())
def test_what_py_amqp_writes_is_read(message: Message, tag: int, again: bool) -> None:
    given = {
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
        "application_headers": message.headers,
        "delivery_mode": message.delivery_mode,
        "priority": message.priority,
        "correlation_id": message.correlation_id,
        "reply_to": message.reply_to,
        **message.properties,
    }
    written = amqp.Message(message.body, **{name: value for name, value in given.items() if value is not None})
    method = b"\x00\x3c\x00\x3c" + dumps("sLbss", ("consumer", tag, again, message.exchange, message.routing_key))
    header = pack_struct(">HHQ", 60, 0, len(message.body)) + written._serialize_properties()
    found = unpack(method, header, message.body, {"consumer": "queue"})
    assert (found.body, found.queue, found.tag, found.redelivered) == (message.body, "queue", tag, again)
    assert (found.exchange, found.routing_key) == (message.exchange, message.routing_key)
    assert (found.content_type, found.content_encoding) == (message.content_type, message.content_encoding)
    assert (found.headers, found.priority) == (message.headers, message.priority)
    assert (found.correlation_id, found.reply_to) == (message.correlation_id, message.reply_to)
    assert found.properties == {"delivery_mode": message.delivery_mode, **message.properties}


@given(MESSAGES)
def test_what_is_written_is_read(message: Message) -> None:
    _, (_, _, header), *_ = frames(pack(message, 1, 100_000))
    method = b"\x00\x3c\x00\x3c" + dumps("sLbss", ("c", 1, False, "", "key"))
    found = unpack(method, header, message.body, {"c": "queue"})
    assert (found.headers, found.content_type, found.correlation_id, found.reply_to) == (
        message.headers,
        message.content_type,
        message.correlation_id,
        message.reply_to,
    )
    assert found.properties.items() >= message.properties.items()


@given(st.binary(max_size=120))
def test_a_header_of_any_bytes_is_read_or_left_out(data: bytes) -> None:
    method = b"\x00\x3c\x00\x3c" + dumps("sLbss", ("c", 1, False, "", "key"))
    found = unpack(method, pack_struct(">HHQ", 60, 0, 0) + data, b"body", {"c": "queue"})
    assert (found.body, found.queue, found.tag) == (b"body", "queue", 1)
    assert isinstance(found.headers, dict)
