"""A message as the bytes of a file: one line of JSON, then the body."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from umbel_kernel.spi.message import Delivery, Message

# JSON has no bytes, so they are written as text behind a mark, and text that begins with the mark's first character
# gets a mark of its own.
_BYTES = "\0b"
_TEXT = "\0t"


def pack(message: Message) -> bytes:
    """Write a message."""
    head = {
        "routing_key": message.routing_key,
        "exchange": message.exchange,
        "content_type": message.content_type,
        "content_encoding": message.content_encoding,
        "headers": message.headers,
        "correlation_id": message.correlation_id,
        "reply_to": message.reply_to,
        "priority": message.priority,
        "properties": message.properties,
    }
    return json.dumps(_mark(head)).encode() + b"\n" + message.body


@dataclass(frozen=True)
class Origin:
    """Where a file was found, which is not written in it."""

    queue: str
    tag: str
    delivery_count: int


def unpack(data: bytes, origin: Origin) -> Delivery:
    """Read a message.

    Raises:
        ValueError: the bytes are not what ``pack`` writes.
    """
    head, _, body = data.partition(b"\n")
    try:
        facts = _unmark(json.loads(head))
        return Delivery(
            body,
            queue=origin.queue,
            tag=origin.tag,
            redelivered=origin.delivery_count > 0,
            delivery_count=origin.delivery_count,
            **facts,
        )
    except (TypeError, RecursionError) as error:
        raise ValueError(f"the head of the message is not an envelope: {error}") from error


def _mark(value: Any) -> Any:
    if isinstance(value, bytes):
        return _BYTES + value.decode("latin-1")
    if isinstance(value, str):
        return _TEXT + value if value.startswith("\0") else value
    if isinstance(value, dict):
        return {key: _mark(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_mark(item) for item in value]
    return value


def _unmark(value: Any) -> Any:
    if isinstance(value, str):
        if value.startswith(_BYTES):
            return value[2:].encode("latin-1")
        return value.removeprefix(_TEXT)
    if isinstance(value, dict):
        return {key: _unmark(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_unmark(item) for item in value]
    return value
