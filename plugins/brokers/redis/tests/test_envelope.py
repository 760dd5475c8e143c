"""Whatever lies in a list is read: as a message, or as the bytes that it is. Nothing raises, and nothing takes long."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umbel_broker_redis.envelope import pack, redelivered, unpack
from umbel_kernel.spi.message import Delivery, Message

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
TAGGED = st.fixed_dictionaries(
    {
        "__type__": st.sampled_from(["bytes", "base64", "datetime", "date", "time", "decimal", "uuid", "x"]),
        "__value__": JSON,
    }
)
MESSAGE = Message(b"[[], {}, {}]", "tasks", headers={"task": "t", "id": "1"}, correlation_id="1")
PACKED = pack(MESSAGE, "", "1.1")
MEMBERS = ["body", "headers", "properties", "content-type", "content-encoding"]
PROPERTIES = [
    "correlation_id",
    "reply_to",
    "delivery_mode",
    "delivery_info",
    "priority",
    "body_encoding",
    "delivery_tag",
]


def _read(raw: bytes) -> Delivery:
    delivery = unpack(raw, "tasks", "tag")
    assert type(delivery.body) is bytes
    assert type(delivery.headers) is dict
    assert type(delivery.properties) is dict
    for text in (delivery.queue, delivery.routing_key, delivery.exchange, delivery.content_type):
        assert type(text) is str
    assert delivery.correlation_id is None or type(delivery.correlation_id) is str
    assert delivery.priority is None or isinstance(delivery.priority, int)
    again = redelivered(raw)
    assert type(again) is bytes
    assert unpack(again, "tasks", "tag").body == delivery.body
    return delivery


@given(st.binary(max_size=200))
def test_any_bytes_are_read(raw: bytes) -> None:
    _read(raw)


LONG = "x" * 4096


@pytest.mark.parametrize("encoding", ["base64", "utf-8", None])
@pytest.mark.parametrize(
    "body", [LONG, f'"{LONG}', f"\\{LONG}", f'{LONG}"', f"ä{LONG}", f"{LONG}=", "A", {"in": LONG}, None, [LONG]]
)
@pytest.mark.parametrize("written", [json.dumps, lambda value: json.dumps(value, ensure_ascii=False, indent=1)])
def test_a_long_envelope_is_read_as_a_short_one(encoding: Any, body: Any, written: Any) -> None:
    found = json.loads(PACKED)
    found["body"], found["properties"]["body_encoding"] = body, encoding
    assert next(iter(found)) == "body"
    found["headers"]["padding"] = LONG
    # Where another member comes first, the body is not cut out.
    told = []
    for raw in (written(found).encode(), written({"headers": {}, **found}).encode()):
        read = _read(raw)
        told.append((read.body.replace(raw, b"as it is"), read.headers))
    assert told[0] == told[1]


def test_of_two_bodies_in_one_envelope_the_last_counts() -> None:
    twice = json.dumps({"body": "A" * 4096})[:-1].encode() + b", " + PACKED[1:]
    assert _read(twice).body == MESSAGE.body


@given(JSON | TAGGED)
def test_any_json_is_read(value: Any) -> None:
    _read(json.dumps(value).encode())


@given(st.dictionaries(st.sampled_from(MEMBERS), JSON | TAGGED, min_size=1))
def test_an_envelope_with_members_of_any_type_is_read(changed: dict[str, Any]) -> None:
    _read(json.dumps({**json.loads(PACKED), **changed}).encode())


@given(st.dictionaries(st.sampled_from(PROPERTIES), JSON | TAGGED, min_size=1))
def test_an_envelope_with_properties_of_any_type_is_read(changed: dict[str, Any]) -> None:
    whole = json.loads(PACKED)
    whole["properties"].update(changed)
    _read(json.dumps(whole).encode())


@given(st.integers(0, len(PACKED) - 1), st.binary(max_size=4), st.integers(0, 8))
@settings(max_examples=300)
def test_a_message_that_was_cut_or_changed_somewhere_is_read(at: int, put: bytes, dropped: int) -> None:
    _read(PACKED[:at] + put + PACKED[at + dropped :])


@given(st.binary(max_size=50), st.dictionaries(st.text(), JSON, max_size=3))
def test_what_was_packed_comes_back(body: bytes, headers: dict[str, Any]) -> None:
    delivery = _read(pack(Message(body, "tasks", headers=headers), "", "1.1"))
    assert delivery.body == body
    assert json.dumps(delivery.headers) == json.dumps(headers)


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 1_000_000,
        b'{"a":' * 1_000_000,
        b'{"headers": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": ' + b"9" * 1_000_000 + b"}",
        b"\xff" * 10_000_000,
        b"{" + b" " * 10_000_000,
        b'{"__type__": "datetime", "__value__": "' + b"9" * 1_000_000 + b'"}',
        b'{"__type__": "decimal", "__value__": "1e999999999"}',
        json.dumps({"body": "x" * 5_000_000, "properties": {"body_encoding": "base64"}}).encode(),
        json.dumps({"body": base64.b64encode(b"x" * 5_000_000).decode(), "properties": {}}).encode(),
    ],
)
def test_what_is_made_to_take_long_takes_a_moment(raw: bytes) -> None:
    began = time.process_time()
    _read(raw)
    assert time.process_time() - began < 2.0


@pytest.mark.parametrize("depth", [100, 300, 900, 960, 980, 990, 1000])
def test_headers_of_any_depth_go_back(depth: int) -> None:
    raw = b'{"body": "", "properties": {"delivery_info": {}}, "headers": {"x": ' + b"[" * depth + b"]" * depth + b"}}"
    _read(raw)
