"""The dead-letter queue: where messages go that nobody here can understand."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from umbel.app.outbox import Outgoing
from umbel.model.brief import brief
from umbel_kernel.spi.message import Delivery, Message
from umbel_kernel.spi.topology import Queue

_SCALARS = (str, int, float, bool, type(None))


def dead_letter(delivery: Delivery, reason: str, *, queue: Queue, hostname: str) -> Outgoing:
    """The message that puts a delivery into the dead-letter queue as it came, with headers that say why.

    The added headers are ``umbel-dead-reason``, ``umbel-dead-queue`` (where it came from),
    ``umbel-dead-worker`` and ``umbel-dead-at`` (ISO 8601, UTC).
    """
    headers = {str(name)[:256]: plain(value) for name, value in delivery.headers.items()}
    headers["umbel-dead-reason"] = reason[:4096]
    headers["umbel-dead-queue"] = delivery.queue
    headers["umbel-dead-worker"] = hostname
    headers["umbel-dead-at"] = datetime.now(UTC).isoformat()
    message = Message(
        delivery.body,
        queue.name,
        "",
        delivery.content_type or "application/octet-stream",
        delivery.content_encoding or "binary",
        headers,
        delivery.correlation_id if isinstance(delivery.correlation_id, str) else None,
    )
    return Outgoing(message, queue)


def plain(value: Any, depth: int = 8) -> Any:
    """A value as plain data: what is something else, or nests too deeply, becomes a short text."""
    if isinstance(value, _SCALARS):
        return value
    if depth and isinstance(value, dict):
        return {str(key)[:256]: plain(member, depth - 1) for key, member in value.items()}
    if depth and isinstance(value, list | tuple):
        return [plain(member, depth - 1) for member in value]
    return brief(value)
