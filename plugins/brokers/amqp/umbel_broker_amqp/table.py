"""Field tables of AMQP 0-9-1: the headers of a message.

Types are written with the letters py-amqp uses, so that every Celery reads them; bytes are byte arrays (``x``).
Source: the AMQP 0-9-1 specification, section 4.2.5, and RabbitMQ's list of errata.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from struct import Struct
from typing import Any

_LONG = Struct(">I")
_INT = Struct(">ci")
_BIG = Struct(">cq")
_DOUBLE = Struct(">cd")
_SIZED = Struct(">cI")
_DEEPEST = 64


@lru_cache(maxsize=4096)
def short(text: str) -> bytes:
    """A short string.

    Raises:
        ValueError: it is longer than 255 bytes.
    """
    data = text.encode("utf-8", "surrogatepass")
    if len(data) > 255:
        raise ValueError(f"{text[:40]!r}... has {len(data)} bytes; AMQP allows 255 here")
    return bytes((len(data),)) + data


def pack_table(table: Mapping[str, Any]) -> bytes:
    """A field table with its length.

    Raises:
        ValueError: a value is no plain data or does not fit.
    """
    parts: list[bytes] = []
    add = parts.append
    for key, value in table.items():
        if value is None:
            add(_nothing(key))
        elif type(value) is str:
            data: bytes = value.encode("utf-8", "surrogatepass")
            add(_text(key))
            add(_LONG.pack(len(data)))
            add(data)
        else:
            add(short(key))
            add(pack_value(value))
    data = b"".join(parts)
    return _LONG.pack(len(data)) + data


@lru_cache(maxsize=1024)
def _nothing(key: str) -> bytes:
    return short(key) + b"V"


@lru_cache(maxsize=1024)
def _text(key: str) -> bytes:
    return short(key) + b"S"


def pack_value(value: Any, depth: int = 0) -> bytes:
    """A value of a field table with the letter of its type.

    Raises:
        ValueError: as for ``pack_table``.
    """
    if value is None:
        return b"V"
    kind = type(value)
    if kind is str:
        data: bytes = value.encode("utf-8", "surrogatepass")
        return _SIZED.pack(b"S", len(data)) + data
    if kind is bool:
        return b"t\x01" if value else b"t\x00"
    if kind is int:
        if -0x80000000 < value < 0x80000000:
            return _INT.pack(b"I", value)
        if -0x8000000000000000 <= value < 0x8000000000000000:
            return _BIG.pack(b"L", value)
        raise ValueError(f"{value} does not fit into the 64 bits of an AMQP header")
    if kind is float:
        if not math.isfinite(value):
            # RabbitMQ reads no such number: it ends the connection, and with it every message on its way.
            raise ValueError(f"{value} is no number that RabbitMQ takes in a header")
        return _DOUBLE.pack(b"d", value)
    if depth > _DEEPEST:
        raise ValueError(f"headers nest deeper than {_DEEPEST}")
    if isinstance(value, Mapping):
        data = b"".join(short(str(key)) + pack_value(item, depth + 1) for key, item in value.items())
        return _SIZED.pack(b"F", len(data)) + data
    if isinstance(value, (list, tuple)):
        data = b"".join(pack_value(item, depth + 1) for item in value)
        return _SIZED.pack(b"A", len(data)) + data
    if isinstance(value, (bytes, bytearray)):
        return _SIZED.pack(b"x", len(value)) + bytes(value)
    if isinstance(value, datetime):
        return b"T" + int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()).to_bytes(8, "big")
    if kind is Decimal:
        return _decimal(value)
    for base in (str, int, float):
        if isinstance(value, base):
            return pack_value(base(value), depth)
    raise ValueError(f"a {kind.__name__} cannot stand in a message header; use plain data")


def _decimal(value: Decimal) -> bytes:
    sign, digits, exponent = value.as_tuple()
    if isinstance(exponent, int) and -255 <= exponent <= 0:
        number = int("".join(map(str, digits))) * (-1 if sign else 1)
        if -0x80000000 <= number < 0x80000000:
            return b"D" + bytes((-exponent,)) + number.to_bytes(4, "big", signed=True)
    raise ValueError(f"{value} does not fit into the 32 bits of an AMQP decimal")


_FIXED = {
    ord(letter): Struct(form)
    for letter, form in {
        "b": ">b",
        "B": ">B",
        "s": ">h",
        "U": ">h",
        "u": ">H",
        "I": ">i",
        "i": ">I",
        "l": ">q",
        "L": ">q",
        "f": ">f",
        "d": ">d",
    }.items()
}
_S, _F, _A, _X, _T, _V, _BOOL, _D = (ord(letter) for letter in "SFAxTVtD")


def unpack_table(data: bytes, start: int) -> dict[str, Any]:
    """The field table that begins here with its length.

    Raises:
        ValueError: it is none, nests too deeply, or has a type that nobody knows.
    """
    (size,) = _LONG.unpack_from(data, start)
    return _read_table(data, start + 4, start + 4 + size, 0)


def _read_table(data: bytes, at: int, end: int, depth: int) -> dict[str, Any]:
    if depth > _DEEPEST or end > len(data):
        raise ValueError("a header table that nests too deeply or is cut short")
    table: dict[str, Any] = {}
    long = _LONG.unpack_from
    while at < end:
        stop = at + 1 + data[at]
        key = data[at + 1 : stop].decode("utf-8", "replace")
        kind = data[stop]
        at = stop + 1
        if kind == _S:
            stop = at + 4 + long(data, at)[0]
            raw = data[at + 4 : stop]
            try:
                table[key] = raw.decode("utf-8")
            except UnicodeDecodeError:
                table[key] = raw
            at = stop
        elif kind == _V:
            table[key] = None
        else:
            table[key], at = read_value(data, kind, at, depth)
    if at != end:
        raise ValueError("a header table whose lengths contradict each other")
    return table


def read_value(data: bytes, kind: int, at: int, depth: int = 0) -> tuple[Any, int]:
    """A value of a type that begins here, and where it ends. Raises as ``unpack_table`` does."""
    fixed = _FIXED.get(kind)
    if fixed is not None:
        return fixed.unpack_from(data, at)[0], at + fixed.size
    if kind == _BOOL:
        return bool(data[at]), at + 1
    if kind == _V:
        return None, at
    if kind == _T:
        return datetime.fromtimestamp(int.from_bytes(data[at : at + 8], "big"), UTC).replace(tzinfo=None), at + 8
    if kind == _D:
        return Decimal(int.from_bytes(data[at + 1 : at + 5], "big", signed=True)).scaleb(-data[at]), at + 5
    if kind not in (_S, _X, _F, _A):
        raise ValueError(f"a header of the unknown type {chr(kind)!r}")
    (size,) = _LONG.unpack_from(data, at)
    at, stop = at + 4, at + 4 + size
    if stop > len(data):
        raise ValueError("a header that is cut short")
    if kind == _F:
        return _read_table(data, at, stop, depth + 1), stop
    if kind == _A:
        if depth > _DEEPEST:
            raise ValueError("a header that nests too deeply")
        items: list[Any] = []
        while at < stop:
            item, at = read_value(data, data[at], at + 1, depth + 1)
            items.append(item)
        return items, stop
    raw = data[at:stop]
    if kind == _X:
        return raw, stop
    try:
        return raw.decode("utf-8"), stop
    except UnicodeDecodeError:
        return raw, stop
