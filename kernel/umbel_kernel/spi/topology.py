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

    Attributes:
        bindings: none means the empty exchange and the queue's own name only.
        durable: survives a restart of the broker.
        exclusive: of this connection alone.
        auto_delete: goes with its last consumer.
        max_priority: highest priority kept apart (AMQP ``x-max-priority``).
        expires: seconds unused after which the broker deletes it.
        message_ttl: seconds after which an undelivered message is dropped.
        arguments: more, in the broker's own names, such as ``{"x-queue-type": "quorum"}``.
    """

    name: str
    bindings: tuple[Binding, ...] = ()
    durable: bool = True
    exclusive: bool = False
    auto_delete: bool = False
    max_priority: int | None = None
    expires: float | None = None
    message_ttl: float | None = None
    arguments: dict[str, Any] = field(default_factory=dict, hash=False)
