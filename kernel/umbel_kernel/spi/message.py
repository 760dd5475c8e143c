"""Messages on their way to a broker, and deliveries on their way from one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Message:
    """What a producer hands to a broker. Nobody changes one after it was made.

    Attributes:
        body: the serialised, perhaps compressed content.
        routing_key: with an empty ``exchange``, the name of the queue.
        exchange: the exchange, or an empty string for "straight to the queue".
        content_type: MIME type of the body, such as ``application/json``.
        content_encoding: ``utf-8`` or ``binary``.
        headers: plain data (None, bool, int, float, str, bytes, list and dict of these).
        correlation_id: in a task message, the task's id.
        reply_to: where the sender reads replies, or None.
        priority: 0 to 9, or None for the queue's default. A higher number is more urgent on every broker but
            ``redis``, where kombu's layout says that 0 comes first.
        delivery_mode: 2 is written to disk by a broker that can, 1 is not.
        expiration: seconds after which the broker may drop it undelivered, or None.
        delay: seconds before it may be delivered, or None. Only for a broker with ``DELAY``.
        properties: more properties in the broker's own names; a broker passes over what it does not know.
    """

    body: bytes
    routing_key: str
    exchange: str = ""
    content_type: str = "application/json"
    content_encoding: str = "utf-8"
    headers: dict[str, Any] = field(default_factory=dict)
    correlation_id: str | None = None
    reply_to: str | None = None
    priority: int | None = None
    delivery_mode: int = 2
    expiration: float | None = None
    delay: float | None = None
    properties: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class Delivery:
    """A message that a consumer holds until it acknowledges or rejects it. Compared by identity.

    Attributes:
        queue: the queue it came from.
        tag: the broker's own handle; nobody else looks inside.
        redelivered: whether a consumer held it before, as far as the broker knows.
        delivery_count: how often it was delivered before, where the broker counts, else None.
    The others are those of ``Message``. ``headers`` may hold anything that a stranger sent: a reader checks the types
    of what it uses.
    """

    body: bytes
    queue: str
    tag: Any
    routing_key: str = ""
    exchange: str = ""
    content_type: str = ""
    content_encoding: str = ""
    headers: dict[str, Any] = field(default_factory=dict)
    correlation_id: str | None = None
    reply_to: str | None = None
    priority: int | None = None
    redelivered: bool = False
    delivery_count: int | None = None
    properties: dict[str, Any] = field(default_factory=dict)
