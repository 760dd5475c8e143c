"""Everything of a message but its body, as one JSON text.

A list by position, decoded by one call. Bytes are rare in headers and JSON has none: a text that holds some begins
with ``b`` and is read by a decoder that knows them; all others never pay for it.
"""

from __future__ import annotations

import base64
import json
from typing import Any

from umbel_kernel.errors import EncodeError
from umbel_kernel.spi.message import Message

_BYTES = "\0bytes"


def _bytes_out(value: Any) -> Any:
    if isinstance(value, bytes | bytearray | memoryview):
        return {_BYTES: base64.b64encode(value).decode("ascii")}
    raise TypeError(f"a {type(value).__name__} in headers or properties")


def _bytes_in(value: dict[str, Any]) -> Any:
    if len(value) == 1 and _BYTES in value:
        return base64.b64decode(value[_BYTES])
    return value


write = json.JSONEncoder(separators=(",", ":")).encode
_encode_bytes = json.JSONEncoder(separators=(",", ":"), default=_bytes_out).encode
_decode = json.JSONDecoder().raw_decode
_decode_bytes = json.JSONDecoder(object_hook=_bytes_in).raw_decode


def _nothing() -> list[Any]:
    return ["", "", "", "", {}, None, None, None, {}]


def encode(message: Message) -> str:
    """The envelope of a message.

    Raises:
        EncodeError: headers or properties are not plain data, or nest too deeply.
    """
    content = [
        message.exchange,
        message.routing_key,
        message.content_type,
        message.content_encoding,
        message.headers,
        message.correlation_id,
        message.reply_to,
        message.priority,
        message.properties,
    ]
    try:
        try:
            return write(content)
        except TypeError:
            return "b" + _encode_bytes(content)
    except (TypeError, ValueError, RecursionError) as error:
        raise EncodeError(
            f"the headers of a message for {message.routing_key!r} cannot be stored: {error}; use None, bool, int, "
            f"float, str, bytes, list and dict only"
        ) from error


def decode(text: str) -> list[Any]:
    """The fields of an envelope, in the order of ``encode``.

    What cannot be read (somebody else wrote to the table) comes back without headers, so that the reader can put the
    message aside instead of failing on it for ever.
    """
    try:
        content = _decode_bytes(text, 1)[0] if text[:1] == "b" else _decode(text)[0]
    except (ValueError, RecursionError, TypeError):
        return _nothing()
    if type(content) is not list or len(content) != 9:
        return _nothing()
    return content
