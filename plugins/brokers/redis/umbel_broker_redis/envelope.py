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

LARGEST = 256 * 1024 * 1024
"""The largest envelope in bytes that is parsed; a larger one comes as it is. A worker reads bodies far below it by
default, so that it is the worker that says what is too large."""


COUNT = "x-delivery-count"
"""The header that says how often a message was delivered before, by the name that RabbitMQ gave it."""


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


_HEAD = b'{"body": "'
_LONG = 2048
"""Bytes of an envelope from which its body is worth cutting out before the rest is read."""

encode = json.JSONEncoder(default=_mark).encode
_decode = binascii.a2b_base64
_tagged = json.JSONDecoder(object_hook=_unmark).decode
_plain = json.JSONDecoder().raw_decode


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
    rest = encode(
        {
            "content-encoding": message.content_encoding,
            "content-type": message.content_type,
            "headers": message.headers,
            "properties": properties,
        }
    ).encode()
    # The encoder would look at each letter of a long body twice.
    return b'%b%b", %b' % (_HEAD, binascii.b2a_base64(message.body, newline=False), rest[1:])


def load(raw: bytes) -> dict[str, Any] | None:
    """The envelope in these bytes, or None when they are none, or too many to be parsed."""
    if len(raw) > LARGEST or raw[:1] not in b"{ \t\r\n":
        return None
    try:
        text = raw.decode("utf-8")
        if '"__type__"' in text:
            found = _tagged(text)
        else:
            found, end = _plain(text) if text[:1] == "{" else (None, 0)
            # White space around it, or a fault: the whole is read again to say which.
            if end != len(text):
                found = json.loads(text)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _load_cut(raw: bytes) -> dict[str, Any] | None:
    """Like ``load``, with a body in base64 left in bytes and not looked at; None when it does not stand where it mostly
    does.
    """
    start = len(_HEAD)
    end = raw.find(b'"', start) if raw.startswith(_HEAD) and len(raw) <= LARGEST else -1
    body = raw[start:end]
    if end < 0 or b"\\" in body or not body.isascii():
        return None
    found = load(_HEAD + raw[end:])
    properties = found.get("properties") if found else None
    if not found or found["body"] or not isinstance(properties, dict) or properties.get("body_encoding") != "base64":
        return None
    found["body"] = body
    return found


def unpack(raw: bytes, queue: str, tag: Any) -> Delivery:
    """A delivery out of the bytes of a list. What is no envelope comes as it is, without headers and content type."""
    found = (_load_cut(raw) if len(raw) >= _LONG else None) or load(raw)
    properties = found.get("properties") if found else None
    if found is None or not isinstance(properties, dict):
        return Delivery(body=raw, queue=queue, tag=tag, routing_key=queue, delivery_count=0)
    headers = found.get("headers") or {}
    body, encoded = found.get("body"), properties.get("body_encoding")
    if encoded == "base64" and (type(body) is str or type(body) is bytes):
        try:
            body = _decode(body)
        except (binascii.Error, ValueError):
            body = None
    else:
        body = _body(body)
    if body is None or not isinstance(headers, dict):
        return Delivery(body=raw, queue=queue, tag=tag, routing_key=queue, delivery_count=0)
    info = properties.get("delivery_info")
    info = info if isinstance(info, dict) else {}
    again = bool(info.get("redelivered"))
    count = 0
    if again:
        headers.pop("redelivered", None)  # kombu writes the mark there as well
        count = _count(headers.pop(COUNT, None)) or 1  # and does not count
    priority = properties.get("priority")
    key, exchange = info.get("routing_key"), info.get("exchange")
    kind, encoding = found.get("content-type"), found.get("content-encoding")
    correlation = properties.get("correlation_id")
    return Delivery(
        body,
        queue,
        tag,
        key if key and type(key) is str else queue,
        exchange if type(exchange) is str else "",
        kind if type(kind) is str else "",
        encoding if type(encoding) is str else "",
        headers,
        correlation if type(correlation) is str else None,
        properties.get("reply_to"),
        priority if isinstance(priority, int) else None,
        again,
        count,
        properties,
    )


def redelivered(raw: bytes) -> bytes:
    """The same message marked as delivered before, as kombu marks it, and counted, as RabbitMQ's quorum queues count.

    Bytes that are no message stay as they are.
    """
    found = load(raw)
    if found is None or unpack(raw, "", None).body is raw:
        return raw
    headers, properties = found.get("headers"), found.get("properties")
    info = properties.get("delivery_info") if isinstance(properties, dict) else None
    if isinstance(headers, dict):
        again = isinstance(info, dict) and bool(info.get("redelivered"))
        headers[COUNT] = (_count(headers.get(COUNT)) or 1) + 1 if again else 1
        headers["redelivered"] = True
    if isinstance(info, dict):
        info["redelivered"] = True
    try:
        return encode(found).encode()
    except (ValueError, TypeError, RecursionError):
        return raw


def _count(value: Any) -> int:
    """A count of deliveries that a stranger may have written."""
    return value if type(value) is int and 0 < value < 1_000_000 else 0


def _body(value: Any) -> bytes | None:
    if value is None:
        return b""
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        return None
    return value.encode("utf-8", "surrogatepass")
