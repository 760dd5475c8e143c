"""Declares queues, exchanges and bindings."""

from __future__ import annotations

from typing import Any

from umbel_kernel.spi.topology import Exchange, Queue

_EXCLUSIVE_LIFE = 1_800_000


def arguments(queue: Queue) -> dict[str, Any]:
    """What RabbitMQ is told about a queue."""
    found = dict(queue.arguments)
    if queue.expires is not None:
        found["x-expires"] = int(queue.expires * 1000)
    elif queue.exclusive:
        found.setdefault("x-expires", _EXCLUSIVE_LIFE)
    if queue.message_ttl is not None:
        found["x-message-ttl"] = int(queue.message_ttl * 1000)
    if queue.max_priority is not None:
        found["x-max-priority"] = queue.max_priority
    return found


def declare_exchange(channel: Any, exchange: Exchange) -> None:
    """Create an exchange, unless it is one of the server's own."""
    if exchange.name and not exchange.name.startswith("amq."):
        channel.exchange_declare(
            exchange.name,
            exchange.type,
            durable=exchange.durable,
            auto_delete=exchange.auto_delete,
            arguments=exchange.arguments or None,
        )


def declare_queue(channel: Any, queue: Queue) -> None:
    """Create a queue, its exchanges and bindings.

    An exclusive queue of AMQP belongs to the connection that declared it, and consumers have connections of their own.
    So it is declared to go with its last consumer, or after half an hour unused, and is consumed exclusively.
    """
    channel.queue_declare(
        queue.name,
        durable=queue.durable and not queue.exclusive,
        auto_delete=queue.auto_delete or queue.exclusive,
        arguments=arguments(queue) or None,
    )
    for binding in queue.bindings:
        if binding.exchange.name:
            declare_exchange(channel, binding.exchange)
            channel.queue_bind(queue.name, binding.exchange.name, binding.routing_key, binding.arguments or None)
