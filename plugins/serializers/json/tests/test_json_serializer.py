"""The JSON serializer against kombu's own codec, and against bodies that mean harm."""

from __future__ import annotations

import json
import math
import threading
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kombu.serialization import dumps as kombu_dumps
from kombu.serialization import loads as kombu_loads

from umbel_kernel.errors import DecodeError, EncodeError
from umbel_serializer_json import JsonSerializer, register_type
from umbel_serializer_json import serializer as serializer_module
from umbel_serializer_json import tags as tags_module
from umbel_serializer_json.depth import DEEPEST, nests_too_deeply

json_serializer = JsonSerializer()

TASK_BODY = [[1, "zwei", None], {"key": 2.5}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}]
TAGGED = [
    datetime(2026, 1, 2, 3, 4, 5, 678),
    datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=-3, minutes=-30))),
    date(2026, 1, 2),
    time(3, 4, 5, 6),
    Decimal("1.10"),
    UUID("12345678123456781234567812345678"),
    b"text",
    b"\xff\x00\xfe",
]

plain_data = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=20,
)


def kombu_body(value: Any) -> bytes:
    body = kombu_dumps(value, "json")[2]
    return body.encode() if isinstance(body, str) else body


def kombu_value(body: bytes) -> Any:
    return kombu_loads(body, "application/json", "utf-8", accept={"application/json"})


@pytest.mark.parametrize("value", [*TAGGED, TASK_BODY, {"a": TAGGED}, (1, 2), {1: 2, None: 3}, "ü \U0001f33f \ud800"])
def test_writes_the_bytes_that_kombu_writes(value: Any) -> None:
    assert json_serializer.dumps(value) == kombu_body(value)


@settings(deadline=None)  # a busy machine is no fault of the serializer
@given(plain_data)
def test_any_plain_value_has_kombus_bytes_and_comes_back(value: Any) -> None:
    body = json_serializer.dumps(value)
    assert body == kombu_body(value)
    assert json_serializer.loads(body) == value == kombu_value(body)


@pytest.mark.parametrize("value", [*TAGGED, TASK_BODY, [{"deep": {"er": TAGGED}}]], ids=repr)
def test_each_side_reads_the_other(value: Any) -> None:
    assert kombu_value(json_serializer.dumps(value)) == value
    assert json_serializer.loads(kombu_body(value)) == value
    assert type(json_serializer.loads(kombu_body(value))) is type(value)


def test_nan_and_infinity_pass_as_in_kombu() -> None:
    body = json_serializer.dumps([math.nan, math.inf, -math.inf])
    assert body == kombu_body([math.nan, math.inf, -math.inf]) == b"[NaN, Infinity, -Infinity]"
    nan, infinity, negative = json_serializer.loads(body)
    assert math.isnan(nan)
    assert (infinity, negative) == (math.inf, -math.inf)


def test_an_object_says_what_stands_for_it() -> None:
    class Point:
        def __json__(self) -> dict[str, int]:
            return {"x": 1, "y": 2}

    assert json_serializer.dumps(Point()) == kombu_body(Point())
    assert json_serializer.loads(json_serializer.dumps([Point()])) == [{"x": 1, "y": 2}]


def test_a_type_can_be_registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tags_module, "_writers", dict(tags_module._writers))
    monkeypatch.setattr(tags_module, "_readers", dict(tags_module._readers))
    register_type(complex, "complex", lambda value: [value.real, value.imag], lambda value: complex(*value))
    register_type(timedelta, None, lambda value: value.total_seconds())
    assert json_serializer.loads(json_serializer.dumps([1 + 2j])) == [1 + 2j]
    assert json_serializer.dumps(timedelta(minutes=1)) == b"60.0"


def test_white_space_around_a_document_is_read() -> None:
    assert json_serializer.loads(b' \n[1, {"a": 2}]\r\n ') == [1, {"a": 2}]


def test_an_object_with_more_than_a_tag_stays_as_it_is() -> None:
    value = {"__type__": "datetime", "__value__": "x", "more": 1}
    assert json_serializer.loads(json_serializer.dumps(value)) == value


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (object(), "builtins.object"),
        ({1, 2}, "builtins.set"),
        (timedelta(1), "datetime.timedelta"),
        ({(1, 2): 3}, "tuple"),
    ],
    ids=["object", "set", "timedelta", "key"],
)
def test_what_cannot_be_written_is_named(value: Any, named: str) -> None:
    with pytest.raises(EncodeError, match=named):
        json_serializer.dumps(value)


def test_a_value_that_holds_itself_is_an_encode_error() -> None:
    circle: list[Any] = []
    circle.append(circle)
    with pytest.raises(EncodeError, match="holds itself"):
        json_serializer.dumps(circle)


def test_an_error_of_the_values_own_method_is_an_encode_error() -> None:
    class Broken:
        def __json__(self) -> None:
            raise KeyError("lost")

    with pytest.raises(EncodeError, match="KeyError: 'lost'"):
        json_serializer.dumps(Broken())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[1] [2]",
        b"\xff",
        b"nul",
        b"[1" + b"0" * 5000 + b"]",
        b'{"__type__": "no-such", "__value__": 1}',
        b'{"__type__": ["datetime"], "__value__": 1}',
        b'{"__type__": "datetime", "__value__": 5}',
        b'{"__type__": "datetime", "__value__": "tomorrow"}',
        b'{"__type__": "decimal", "__value__": "1x"}',
        b'{"__type__": "uuid", "__value__": {"int": 5}}',
        b'{"__type__": "uuid", "__value__": []}',
        b'{"__type__": "base64", "__value__": "*"}',
        b'{"__type__": "bytes", "__value__": 1}',
        b"[" * 2_000_000,
        b'{"a":' * 500_000 + b"1" + b"}" * 500_000,
        b'[{"__type__": "date", "__value__": ' + b"[" * 100_000,
    ],
    ids=lambda body: f"{body[:48]!r}",
)
def test_a_bad_body_is_a_decode_error(body: bytes) -> None:
    with pytest.raises(DecodeError):
        json_serializer.loads(body)


def test_the_encoder_is_shared_by_threads() -> None:
    shared = {"list": [{"n": n} for n in range(200)]}
    expected = json.dumps(shared).encode()
    wrong: list[bytes | Exception] = []

    def write() -> None:
        for _ in range(100):
            try:
                body = json_serializer.dumps(shared)
            except EncodeError as error:
                wrong.append(error)
            else:
                if body != expected:
                    wrong.append(body)

    threads = [threading.Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_without_a_c_encoder_the_bytes_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serializer_module.json.encoder, "c_make_encoder", None)
    slow = serializer_module._make_encode()
    assert slow([TASK_BODY, *TAGGED]).encode() == json_serializer.dumps([TASK_BODY, *TAGGED])


def _nested(levels: int) -> bytes:
    return b"[" * levels + b"]" * levels


@pytest.mark.parametrize(
    ("text", "too_deep"),
    [
        (_nested(DEEPEST), False),
        (_nested(DEEPEST + 1), True),
        (b'{"a":' * (DEEPEST + 1) + b"1" + b"}" * (DEEPEST + 1), True),
        (b"[" + b"[1]," * 5_000 + b"[]]", False),
        (b'["' + b"[" * 5_000 + b'"]', False),
        (b'["\\"' + b"[" * 5_000 + b'"]', False),
        (b'["\\\\", "' + b"]" * 5_000 + b'", ' + _nested(DEEPEST) + b"]", True),
        (b'["' + b"]" * 5_000 + b'", ' + _nested(DEEPEST) + b"]", True),
        (b"[" * 3_000_000, True),
    ],
)
def test_depth_is_known_before_anything_is_parsed(text: bytes, too_deep: bool) -> None:
    assert nests_too_deeply(text) is too_deep


def test_what_nests_a_thousand_levels_deep_is_refused_on_every_python() -> None:
    with pytest.raises(DecodeError, match="too deeply"):
        JsonSerializer().loads(_nested(1_100))
