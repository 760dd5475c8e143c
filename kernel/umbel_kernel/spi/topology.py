"""Exchanges, queues and bindings: AMQP's words, which every broker answers to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

EXCHANGE_TYPES = ("direct", "topic", "fanout", "headers")


@dataclass(frozen=True, slots=True)
class Exchange:
    """An exchange. The one with an empty name hands a message to the queue its routing key names."""

    name: str = ""
    type: str = "direct"
    durable: bool = True
    auto_delete: bool = False
    arguments: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Binding:
    """That an exchange hands messages of a routing key (in ``topic``, a pattern) to a queue."""

    exchange: Exchange
    routing_key: str = ""
    arguments: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue and its bindings. ``declare`` creates all of it and is harmless when it is there.

    ``arguments`` has more, in the broker's own names, such as ``{"x-queue-type": "quorum"}``.
    """

    name: str
    bindings: tuple[Binding, ...] = ()  # none means the empty exchange and the queue's own name only
    durable: bool = True  # survives a restart of the broker
    exclusive: bool = False  # of this connection alone
    auto_delete: bool = False  # goes with its last consumer
    max_priority: int | None = None  # the highest priority kept apart (AMQP ``x-max-priority``)
    expires: float | None = None  # seconds unused after which the broker deletes it
    message_ttl: float | None = None  # seconds after which an undelivered message is dropped
    arguments: dict[str, Any] = field(default_factory=dict, hash=False)
