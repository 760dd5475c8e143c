"""What is put into the dead-letter queue: the message as it came, in a form that every broker can carry."""

from __future__ import annotations

import json
import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.worker.dead_letter import MOST_HEADERS, dead_letter, plain
from umbel_broker_amqp.table import pack_table
from umbel_kernel.spi.message import Delivery, Message
from umbel_kernel.spi.topology import Queue

FRAME = 131_072
"""Bytes of a frame of AMQP, unless somebody changed it; all headers and properties stand in one."""


def _letter(reason: str = "why", **fields: Any) -> Message:
    delivery = Delivery(b"body", "tasks", 1, **fields)
    return dead_letter(delivery, reason, queue=Queue("dead"), hostname="w@here").message


def test_the_message_is_as_it_came_and_says_why() -> None:
    headers = {"task": "t", "id": "1", "x": [1, {"y": None}], "b": b"\xff"}
    letter = _letter(headers=headers, content_type="a/b", content_encoding="utf-8", correlation_id="c")
    assert (letter.body, letter.routing_key, letter.exchange) == (b"body", "dead", "")
    assert (letter.content_type, letter.content_encoding, letter.correlation_id) == ("a/b", "utf-8", "c")
    assert {name: letter.headers[name] for name in headers} == headers
    assert letter.headers["umbel-dead-reason"] == "why"
    assert letter.headers["umbel-dead-queue"] == "tasks"
    assert letter.headers["umbel-dead-worker"] == "w@here"
    assert datetime.fromisoformat(letter.headers["umbel-dead-at"]).tzinfo is UTC
    assert "umbel-dead-cut" not in letter.headers


def test_what_came_without_a_content_type_is_bytes() -> None:
    letter = _letter()
    assert (letter.content_type, letter.content_encoding) == ("application/octet-stream", "binary")


def test_a_long_reason_is_cut() -> None:
    assert len(_letter("x" * 100_000).headers["umbel-dead-reason"]) == 4096


@pytest.mark.parametrize("value", [5, ["x"], "x" * 256, "é" * 200])
def test_properties_that_do_not_fit_are_left_out(value: Any) -> None:
    letter = _letter(content_type=value, content_encoding=value, correlation_id=value)
    assert letter.correlation_id is None
    assert (letter.content_type, letter.content_encoding) == ("application/octet-stream", "binary")


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        *((value, value) for value in (None, True, 5, 1.5, "x", b"x", [1], {"a": [None]}, 2**63 - 1)),
        ((1, 2), [1, 2]),
        (2**63, str(2**63)),
        (float("inf"), "inf"),
        (Decimal("1.5"), "Decimal('1.5')"),
        (uuid.UUID(int=1), "UUID('00000000-0000-0000-0000-000000000001')"),
        ({5: 1}, {"5": 1}),
    ],
)
def test_values_become_what_every_broker_can_carry(value: Any, kept: Any) -> None:
    assert plain(value) == kept


def test_what_nests_too_deeply_becomes_a_text() -> None:
    value: Any = 1
    for _ in range(500):
        value = [value]
    made = plain(value)
    for _ in range(8):
        made = made[0]
    assert isinstance(made, str)


@pytest.mark.parametrize(
    "headers",
    [
        {f"x-{number}": "y" * 20 for number in range(20_000)},
        {"x": "y" * 5_000_000},
        {"x": ["y" * 1000] * 1000},
        {"x": {f"é{number}" * 20: "é" * 50 for number in range(1000)}},
        {"x" * 10_000: 1, "é" * 10_000: 2},
        {f"x{number}": b"\xff" * 1000 for number in range(1000)},
    ],
)
def test_huge_headers_are_cut_to_a_frame_and_the_small_ones_stay(headers: dict[str, Any]) -> None:
    letter = _letter("x" * 10_000, headers={"task": "t", "id": "1", **headers, "eta": None})
    assert (letter.headers["task"], letter.headers["id"]) == ("t", "1")
    assert len(pack_table(letter.headers)) < FRAME - 4096
    if len(json.dumps(headers, default=str)) > MOST_HEADERS:
        assert letter.headers["umbel-dead-cut"] >= 1


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.decimals() | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4) | st.tuples(inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), ANYTHING, max_size=8), ANYTHING, ANYTHING)
def test_whatever_came_can_be_carried(headers: dict[str, Any], content_type: Any, correlation_id: Any) -> None:
    letter = _letter(headers=headers, content_type=content_type, correlation_id=correlation_id)
    assert len(pack_table(letter.headers)) < FRAME
    assert isinstance(letter.content_type, str)
    assert letter.correlation_id is None or isinstance(letter.correlation_id, str)
