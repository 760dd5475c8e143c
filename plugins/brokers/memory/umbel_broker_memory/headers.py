"""Headers as bytes, so that no object of a producer reaches a consumer, as with a broker behind a wire."""

from __future__ import annotations

import marshal
from collections.abc import Mapping
from typing import Any

from umbel_kernel.errors import EncodeError

NONE = marshal.dumps({})
SCALARS = frozenset({type(None), bool, int, float, str, bytes})


def freeze(headers: dict[str, Any]) -> bytes:
    """Write plain data.

    Raises:
        EncodeError: it holds something that is no plain data; the message names its type.
    """
    if not headers:
        return NONE
    return marshal.dumps({name: value if type(value) in SCALARS else _plain(value) for name, value in headers.items()})


def thaw(frozen: bytes) -> dict[str, Any]:
    """Read what ``freeze`` wrote: new objects each time."""
    headers: dict[str, Any] = marshal.loads(frozen)
    return headers


def _plain(value: Any) -> Any:
    """The same value made of the built-in types alone: an enum of strings becomes a string."""
    if type(value) in SCALARS:
        return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        return float(value)
    if isinstance(value, bytes):
        return bytes(value)
    if isinstance(value, Mapping):
        return {_plain(name): _plain(of) for name, of in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    raise EncodeError(
        f"a header holds {type(value).__name__}, which is not plain data; "
        f"use None, bool, int, float, str, bytes, list or dict"
    )
