"""The JSON envelope in which kombu's virtual transports carry a message."""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any

from umbel_kernel.spi.message import Delivery, Message


def _mark(value: Any) -> dict[str, Any]:
    """What JSON has no word for, in kombu's type tags."""
    if isinstance(value, bytes):
        try:
            return {"__type__": "bytes", "__value__": value.decode("utf-8")}
        except UnicodeDecodeError:
            return {"__type__": "base64", "__value__": base64.b64encode(value).decode("ascii")}
    for kind, name in ((datetime, "datetime"), (date, "date"), (time, "time")):
        if isinstance(value, kind):
            return {"__type__": name, "__value__": value.isoformat()}
    if isinstance(value, Decimal):
        return {"__type__": "decimal", "__value__": str(value)}
    if isinstance(value, uuid.UUID):
        return {"__type__": "uuid", "__value__": {"hex": value.hex}}
    raise TypeError(f"a {type(value).__name__} cannot stand in a message header; use plain data")


_TAGS: dict[str, Callable[[Any], Any]] = {
    "bytes": lambda value: value.encode("utf-8"),
    "base64": base64.b64decode,
    "datetime": datetime.fromisoformat,
    "date": lambda value: datetime.fromisoformat(value).date(),
    "time": time.fromisoformat,
    "decimal": Decimal,
    "uuid": lambda value: uuid.UUID(hex=value["hex"]),
}


def _unmark(value: dict[str, Any]) -> Any:
    if value.keys() == {"__type__", "__value__"} and value["__type__"] in _TAGS:
        return _TAGS[value["__type__"]](value["__value__"])
    return value


_encode = json.JSONEncoder(default=_mark).encode
_tagged = json.JSONDecoder(object_hook=_unmark).decode


def pack(message: Message, exchange: str, tag: str) -> bytes:
    """A message as it lies in a Redis list.

    Args:
        tag: the delivery tag, which has to differ from that of every other message.

    Raises:
        TypeError, ValueError: a header is no plain data.
    """
    properties: dict[str, Any] = {
        "correlation_id": message.correlation_id,
        "reply_to": message.reply_to,
        "delivery_mode": message.delivery_mode,
        "delivery_info": {"exchange": exchange, "routing_key": message.routing_key},
        "priority": message.priority or 0,
        "body_encoding": "base64",
        "delivery_tag": tag,
    }
    if message.expiration is not None:
        properties["expiration"] = str(int(message.expiration * 1000))
    if message.properties:
        properties = {**message.properties, **properties}
    return _encode(
        {
            "body": binascii.b2a_base64(message.body, newline=False).decode("ascii"),
            "content-encoding": message.content_encoding,
            "content-type": message.content_type,
            "headers": message.headers,
            "properties": properties,
        }
    ).encode()


def load(raw: bytes) -> dict[str, Any] | None:
    """The envelope in these bytes, or None when they are none."""
    try:
        text = raw.decode("utf-8")
        found = _tagged(text) if '"__type__"' in text else json.loads(text)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def unpack(raw: bytes, queue: str, tag: Any) -> Delivery:
    """A delivery out of the bytes of a list. What is no envelope comes as it is, without headers and content type."""
    found = load(raw)
    properties = found.get("properties") if found else None
    if found is None or not isinstance(properties, dict):
        return Delivery(body=raw, queue=queue, tag=tag, routing_key=queue)
    headers = found.get("headers") or {}
    body = _body(found.get("body"), properties.get("body_encoding"))
    if body is None or not isinstance(headers, dict):
        return Delivery(body=raw, queue=queue, tag=tag, routing_key=queue)
    info = properties.get("delivery_info")
    info = info if isinstance(info, dict) else {}
    again = bool(info.get("redelivered"))
    if again:
        headers.pop("redelivered", None)  # kombu writes the mark there as well
    priority = properties.get("priority")
    return Delivery(
        body=body,
        queue=queue,
        tag=tag,
        routing_key=_text(info.get("routing_key")) or queue,
        exchange=_text(info.get("exchange")) or "",
        content_type=_text(found.get("content-type")) or "",
        content_encoding=_text(found.get("content-encoding")) or "",
        headers=headers,
        correlation_id=_text(properties.get("correlation_id")),
        reply_to=_text(properties.get("reply_to")),
        priority=priority if isinstance(priority, int) else None,
        redelivered=again,
        properties=properties,
    )


def redelivered(raw: bytes) -> bytes:
    """The same message marked as delivered before, as kombu marks it; bytes that are no envelope stay as they are."""
    found = load(raw)
    if found is None:
        return raw
    headers, properties = found.get("headers"), found.get("properties")
    if isinstance(headers, dict):
        headers["redelivered"] = True
    if isinstance(properties, dict) and isinstance(properties.get("delivery_info"), dict):
        properties["delivery_info"]["redelivered"] = True
    return _encode(found).encode()


def _body(value: Any, encoding: Any) -> bytes | None:
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        return None
    if encoding != "base64":
        return value.encode("utf-8", "surrogatepass")
    try:
        return binascii.a2b_base64(value)
    except (binascii.Error, ValueError):
        return None


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
