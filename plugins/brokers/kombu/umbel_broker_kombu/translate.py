"""Between the contract's messages and kombu's."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from umbel_kernel.spi.message import Delivery, Message
from umbel_kernel.spi.topology import Queue


def outgoing(channel: Any, message: Message) -> Any:
    """A message as kombu's channel publishes it, with the properties that kombu's producer sets."""
    properties: dict[str, Any] = dict(message.properties)
    properties["delivery_mode"] = message.delivery_mode
    if message.correlation_id is not None:
        properties["correlation_id"] = message.correlation_id
    if message.reply_to is not None:
        properties["reply_to"] = message.reply_to
    if message.expiration is not None:
        properties["expiration"] = str(int(message.expiration * 1000))
    return channel.prepare_message(
        message.body,
        message.priority or 0,
        message.content_type,
        message.content_encoding,
        dict(message.headers),
        properties,
    )


def incoming(message: Any, queue: str) -> Delivery:
    """A delivery out of kombu's message; its ``tag`` is kombu's delivery tag."""
    properties = message.properties if isinstance(message.properties, dict) else {}
    info = message.delivery_info if isinstance(message.delivery_info, dict) else {}
    headers = deepcopy(message.headers) if isinstance(message.headers, dict) else {}
    again = bool(info.get("redelivered"))
    if again:
        headers.pop("redelivered", None)  # kombu writes the mark there as well
    body = message.body
    if isinstance(body, str):
        body = body.encode("utf-8", "surrogatepass")
    priority = properties.get("priority")
    known = {"application_headers", "delivery_info", "correlation_id", "reply_to"}
    return Delivery(
        body=bytes(body or b""),
        queue=queue,
        tag=message.delivery_tag,
        routing_key=_text(info.get("routing_key")) or queue,
        exchange=_text(info.get("exchange")) or "",
        content_type=_text(message.content_type) or "",
        content_encoding=_text(message.content_encoding) or "",
        headers=headers,
        correlation_id=_text(properties.get("correlation_id")),
        reply_to=_text(properties.get("reply_to")),
        priority=priority if isinstance(priority, int) else None,
        redelivered=again or bool(getattr(message, "_raw", None) and _again(message._raw)),
        properties={name: deepcopy(value) for name, value in properties.items() if name not in known},
    )


def arguments(channel: Any, queue: Queue) -> dict[str, Any]:
    """A queue's arguments in the transport's own names."""
    found: dict[str, Any] = channel.prepare_queue_arguments(
        dict(queue.arguments),
        expires=queue.expires,
        message_ttl=queue.message_ttl,
        max_priority=queue.max_priority,
    )
    return found


def _again(raw: Any) -> bool:
    """Virtual transports mark a message that they put back at its top."""
    return isinstance(raw, dict) and bool(raw.get("redelivered"))


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None
