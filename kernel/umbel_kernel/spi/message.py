"""Messages on their way to a broker, and deliveries on their way from one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, eq=False)
class Form:
    """What messages made alike have in common, so that a broker may write it once and keep it by the form.

    Messages of one form differ in ``body``, ``correlation_id``, ``delay`` and the headers that ``varying`` names; all
    else is the same in all of them, the order of the headers too. Compared by identity.
    """

    varying: tuple[str, ...]


@dataclass(slots=True)
class Message:
    """What a producer hands to a broker. Nobody changes one after it was made.

    Headers are plain data: None, bool, int, float, str, bytes, list and dict of these. A higher priority is more urgent
    on every broker but ``redis``, where kombu's layout says that 0 comes first.
    """

    body: bytes  # the serialised, perhaps compressed content
    routing_key: str  # with an empty ``exchange``, the name of the queue
    exchange: str = ""  # empty for "straight to the queue"
    content_type: str = "application/json"
    content_encoding: str = "utf-8"  # or ``binary``
    headers: dict[str, Any] = field(default_factory=dict)
    correlation_id: str | None = None  # in a task message, the task's id
    reply_to: str | None = None  # where the sender reads replies
    priority: int | None = None  # 0 to 9, or None for the queue's default
    delivery_mode: int = 2  # 2 is written to disk by a broker that can, 1 is not
    expiration: float | None = None  # seconds after which the broker may drop it undelivered
    delay: float | None = None  # seconds before it may be delivered; only for a broker with ``DELAY``
    properties: dict[str, Any] = field(default_factory=dict)  # more; a broker passes over what it does not know
    form: Form | None = None  # whose message this is; None for one that was made alone or changed since


@dataclass(slots=True, eq=False)
class Delivery:
    """A message that a consumer holds until it acknowledges or rejects it. Compared by identity. Headers may hold
    anything that a stranger sent: a reader checks the types of what it uses.
    """

    body: bytes
    queue: str  # the queue it came from
    tag: Any  # the broker's own handle; nobody else looks inside
    routing_key: str = ""
    exchange: str = ""
    content_type: str = ""
    content_encoding: str = ""
    headers: dict[str, Any] = field(default_factory=dict)
    correlation_id: str | None = None
    reply_to: str | None = None
    priority: int | None = None
    redelivered: bool = False  # whether a consumer held it before, as far as the broker knows
    delivery_count: int | None = None  # how often it was delivered before, where the broker counts
    properties: dict[str, Any] = field(default_factory=dict)
