"""A check of the headers and stamps that a caller gives, so that the error names the header and not the message."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID

from umbel_kernel.errors import EncodeError

_PLAIN = (str, int, float, bytes, bytearray, type(None), datetime, date, time, Decimal, UUID)
"""What one broker or another takes in a header. Not each takes all of it, and says so."""


def check_headers(task: str, what: str, given: Any) -> None:
    """Check that these can stand in the headers of a message.

    Args:
        task: the name of the task that is called with them.
        what: ``header`` or ``stamp``.
        given: their values by name.

    Raises:
        TypeError: it is no mapping.
        EncodeError: a value is nothing that a header can hold; names the task and the header.
    """
    if not isinstance(given, Mapping):
        raise TypeError(f"the {what}s of {task} are a mapping, not {type(given).__name__}")
    for name, value in given.items():
        try:
            wrong = None if isinstance(value, _PLAIN) else _wrong(value)
        except RecursionError:
            wrong = "a value that holds itself, or nests too deeply,"
        if wrong is not None:
            raise EncodeError(
                f"{what} {name!r} of {task} cannot be sent: {wrong} cannot stand in a message header; "
                f"use None, bool, int, float, str, bytes, list or dict"
            )


def _wrong(value: Any) -> str | None:
    """The type of the first value inside that is not plain data; None when all are."""
    if isinstance(value, _PLAIN):
        return None
    if isinstance(value, Mapping):
        found = (_wrong(each) for each in value.values())
    elif isinstance(value, list | tuple):
        found = (_wrong(each) for each in value)
    else:
        return f"{type(value).__module__}.{type(value).__qualname__}"
    return next((wrong for wrong in found if wrong is not None), None)
