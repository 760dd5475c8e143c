"""Type tags: how a value that JSON has no word for is written, and read back.

The form is kombu's (``kombu.utils.json``, 5.3 and later): ``{"__type__": "<tag>", "__value__": <plain data>}``.
"""

from __future__ import annotations

import base64
import sys
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from umbel_kernel.errors import DecodeError

TYPE = "__type__"
VALUE = "__value__"

_tagged = frozenset((TYPE, VALUE))


def _read_date(text: str) -> date:
    return datetime.fromisoformat(text).date()


def _read_uuid(value: dict[str, str]) -> UUID:
    return UUID(hex=value["hex"])


def _read_base64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


# A datetime is a date too, so it stands before it.
_writers: dict[type[Any], tuple[str | None, Callable[[Any], Any]]] = {
    datetime: ("datetime", datetime.isoformat),
    date: ("date", date.isoformat),
    time: ("time", time.isoformat),
    Decimal: ("decimal", str),
    UUID: ("uuid", lambda value: {"hex": value.hex}),
}
_readers: dict[str, Callable[[Any], Any]] = {
    "bytes": str.encode,
    "base64": _read_base64,
    "datetime": datetime.fromisoformat,
    "date": _read_date,
    "time": time.fromisoformat,
    "decimal": Decimal,
    "uuid": _read_uuid,
}


def register_type(
    type_: type[Any],
    tag: str | None,
    write: Callable[[Any], Any],
    read: Callable[[Any], Any] = lambda value: value,
) -> None:
    """Teach this process to write and read one more type; both ends of a queue need it.

    Args:
        tag: its name on the wire, or None when ``write`` returns data that needs no reading back.
        write: returns plain data for a value, which may hold other writable values.
        read: makes the value again from what ``write`` returned.
    """
    _writers[type_] = (tag, write)
    if tag is not None:
        _readers[tag] = read


def to_plain(value: Any) -> Any:
    """What stands for a value that the JSON encoder does not know. Called by the encoder for each of them.

    Raises:
        TypeError: nobody can write it.
    """
    own = getattr(value, "__json__", None)
    if own is not None:
        return own()
    for type_, (tag, write) in _writers.items():
        if isinstance(value, type_):
            return write(value) if tag is None else {TYPE: tag, VALUE: write(value)}
    if isinstance(value, bytes):
        try:
            return {TYPE: "bytes", VALUE: value.decode("utf-8")}
        except UnicodeDecodeError:
            return {TYPE: "base64", VALUE: base64.b64encode(value).decode("ascii")}
    # A lazily translated text exists only where its owner has imported Django.
    django = sys.modules.get("django.utils.functional")
    if django is not None and isinstance(value, django.Promise):
        return str(value)
    raise TypeError(
        f"a {type(value).__module__}.{type(value).__qualname__} cannot be written as JSON; "
        f"pass plain data, give it a __json__() method, or use umbel_serializer_json.register_type"
    )


def from_plain(found: dict[str, Any]) -> Any:
    """The value of a tagged object; any other object as it is. Called by the decoder for each object.

    Raises:
        DecodeError: the tag is not known here, or its value is not of its form.
    """
    if found.keys() != _tagged:
        return found
    tag = found[TYPE]
    read = _readers.get(tag) if isinstance(tag, str) else None
    if read is None:
        raise DecodeError(f"JSON with the type tag {str(tag)[:80]!r}, which is not registered in this process")
    try:
        return read(found[VALUE])
    except Exception as error:
        raise DecodeError(
            f"JSON with the type tag {tag!r} and a value that is none: {type(error).__name__}: {str(error)[:200]}"
        ) from error
