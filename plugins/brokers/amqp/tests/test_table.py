"""Field tables against the specification, and against py-amqp in both directions."""

from __future__ import annotations

import struct
from datetime import datetime
from decimal import Decimal
from typing import Any

import pytest
from amqp.serialization import dumps, loads
from hypothesis import given
from hypothesis import strategies as st

from umbel_broker_amqp.table import pack_table, short, unpack_table


def table(*items: bytes) -> bytes:
    """A table of the entries ``a``, ``b`` … with these types and values."""
    data = b"".join(b"\x01" + bytes((97 + place,)) + item for place, item in enumerate(items))
    return struct.pack(">I", len(data)) + data


# The types of the AMQP 0-9-1 specification, section 4.2.5.5, as amended by RabbitMQ's errata.
TYPES: dict[str, tuple[bytes, Any]] = {
    "boolean, true": (b"t\x01", True),
    "boolean, false": (b"t\x00", False),
    "boolean, any other number": (b"t\x07", True),
    "short-short-int": (b"b\x80", -128),
    "short-short-uint": (b"B\xff", 255),
    "short-int, RabbitMQ's letter": (b"s\x80\x00", -32768),
    "short-int, the specification's": (b"U\x80\x00", -32768),
    "short-uint": (b"u\xff\xff", 65535),
    "long-int": (b"I\x80\x00\x00\x00", -(2**31)),
    "long-uint": (b"i\xff\xff\xff\xff", 2**32 - 1),
    "long-long-int, RabbitMQ's letter": (b"l\x80" + bytes(7), -(2**63)),
    "long-long-int, as py-amqp writes it": (b"L\x7f" + b"\xff" * 7, 2**63 - 1),
    "float": (b"f\x3f\x00\x00\x00", 0.5),
    "double": (b"d" + struct.pack(">d", -1.5e300), -1.5e300),
    "decimal": (b"D\x02" + struct.pack(">i", -12345), Decimal("-123.45")),
    "decimal without places": (b"D\x00" + struct.pack(">i", 7), Decimal(7)),
    "long string": (b"S\x00\x00\x00\x05p\xc5\x99ed", "před"),
    "long string, empty": (b"S\x00\x00\x00\x00", ""),
    "long string that is no text": (b"S\x00\x00\x00\x02\xff\x00", b"\xff\x00"),
    "byte array": (b"x\x00\x00\x00\x02\xff\x00", b"\xff\x00"),
    "timestamp": (b"T" + (1_700_000_000).to_bytes(8, "big"), datetime(2023, 11, 14, 22, 13, 20)),
    "array": (b"A\x00\x00\x00\x05t\x01Vb\x02", [True, None, 2]),
    "array, empty": (b"A\x00\x00\x00\x00", []),
    "table": (b"F\x00\x00\x00\x04\x01kb\x05", {"k": 5}),
    "table, empty": (b"F\x00\x00\x00\x00", {}),
    "tables and arrays in each other": (b"A\x00\x00\x00\x0cF\x00\x00\x00\x07\x01kA\x00\x00\x00\x00"[:17], [{"k": []}]),
    "void": (b"V", None),
}


@pytest.mark.parametrize("kind", TYPES)
def test_each_type_is_read(kind: str) -> None:
    written, value = TYPES[kind]
    found = unpack_table(b"before" + table(written, b"b\x2a") + b"after", 6)
    assert found == {"a": value, "b": 42}
    assert type(found["a"]) is type(value)


@pytest.mark.parametrize("kind", [kind for kind in TYPES if kind != "tables and arrays in each other"])
def test_each_type_cut_short_is_an_error(kind: str) -> None:
    written, _ = TYPES[kind]
    for length in range(len(written)):
        data = table(written)
        data = data[: len(data) - len(written) + length]
        with pytest.raises((ValueError, struct.error, IndexError)):
            unpack_table(data, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00",
        b"\xff\xff\xff\xff",
        table(b"?"),
        table(b"S\xff\xff\xff\xff"),
        table(b"x\x7f\xff\xff\xff"),
        table(b"F\x00\x00\x00\x09\x01ab\x01"),
        table(b"A\x00\x00\x00\x01I"),
        b"\x00\x00\x00\x02\x05a",
        table(b"A" + struct.pack(">I", 10)),
        table(b"F\x00\x00\x00\x03\x01ab"),
    ],
)
def test_contradictory_lengths_and_unknown_types_are_errors(data: bytes) -> None:
    with pytest.raises((ValueError, struct.error, IndexError)):
        unpack_table(data, 0)


@pytest.mark.parametrize("letter", [b"A", b"F"])
def test_deep_nesting_is_an_error_and_no_recursion(letter: bytes) -> None:
    data = b""
    for _ in range(5000):
        inner = data if letter == b"A" else b"\x01k" + data if data else b""
        data = letter + struct.pack(">I", len(inner)) + inner
    with pytest.raises(ValueError, match="deep"):
        unpack_table(table(data), 0)


TEXTS = st.text(st.characters(blacklist_categories=("Cs",)), max_size=40)
KEYS = st.text(st.characters(blacklist_categories=("Cs",)), max_size=60)
PLAIN = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
    | st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**5), max_value=10**5)
    | st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(lambda found: found.replace(microsecond=0))
)
TABLES = st.dictionaries(
    KEYS,
    st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4)),
    max_size=6,
)


@given(TABLES)
def test_py_amqp_reads_what_is_written(value: dict[str, Any]) -> None:
    assert loads("F", pack_table(value), 0)[0][0] == value


@given(TABLES)
def test_what_py_amqp_writes_is_read(value: dict[str, Any]) -> None:
    assert unpack_table(dumps("F", [value]), 0) == value


@given(TABLES)
def test_what_is_written_is_read(value: dict[str, Any]) -> None:
    found = unpack_table(pack_table(value), 0)
    assert found == value
    assert {key: type(item) for key, item in found.items()} == {key: type(item) for key, item in value.items()}


@given(st.dictionaries(KEYS, st.binary(max_size=40), max_size=4))
def test_bytes_come_back_as_bytes(value: dict[str, bytes]) -> None:
    assert unpack_table(pack_table(value), 0) == value
    assert loads("F", pack_table(value), 0)[0][0] == value


@given(st.binary(max_size=200))
def test_no_bytes_hang_or_raise_anything_else(data: bytes) -> None:
    try:
        unpack_table(struct.pack(">I", len(data)) + data, 0)
    except (ValueError, struct.error, IndexError, OverflowError, OSError):
        return


@pytest.mark.parametrize(
    "value", [2**63, -(2**63) - 1, Decimal("1e10"), Decimal("NaN"), object(), {1, 2}, {"k" * 256: 1}, lambda: None]
)
def test_what_does_not_fit_is_refused(value: Any) -> None:
    with pytest.raises(ValueError):
        pack_table({"key": value})


def test_a_key_of_256_bytes_is_refused() -> None:
    assert short("k" * 255) == b"\xff" + b"k" * 255
    with pytest.raises(ValueError, match="255"):
        pack_table({"ž" * 128: 1})
