"""The dead-letter queue: where messages go that nobody here can understand."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from umbel.app.outbox import Outgoing
from umbel.model.brief import brief
from umbel_kernel.spi.message import Delivery, Message
from umbel_kernel.spi.topology import Queue

MOST_HEADERS = 64 * 1024
"""About how many bytes of a message's own headers are kept: AMQP sends all headers in one frame, of 128 KiB by default,
and a message that came by another broker may have more."""

_LONGEST_REASON = 4096
_SHORT = 255
_LARGEST = 2**63
_DEEPEST = 8


def dead_letter(delivery: Delivery, reason: str, *, queue: Queue, hostname: str) -> Outgoing:
    """The message that puts a delivery into the dead-letter queue, its body as it came, with headers that say why.

    The added headers are ``umbel-dead-reason``, ``umbel-dead-queue`` (where it came from), ``umbel-dead-worker``,
    ``umbel-dead-at`` (ISO 8601, UTC) and, when not all of its own headers could be kept, ``umbel-dead-cut`` (how many
    are missing or shortened).
    """
    headers = _kept(delivery.headers)
    headers["umbel-dead-reason"] = reason[:_LONGEST_REASON]
    headers["umbel-dead-queue"] = delivery.queue
    headers["umbel-dead-worker"] = hostname
    headers["umbel-dead-at"] = datetime.now(UTC).isoformat()
    message = Message(
        delivery.body,
        queue.name,
        "",
        _short(delivery.content_type) or "application/octet-stream",
        _short(delivery.content_encoding) or "binary",
        headers,
        _short(delivery.correlation_id),
    )
    return Outgoing(message, queue)


def plain(value: Any, depth: int = _DEEPEST) -> Any:
    """A value as data that every broker can carry: what is something else, or nests too deeply, becomes a text."""
    kind = type(value)
    if value is None or kind is bool or kind is str or kind is bytes:
        return value
    if kind is int:
        return value if -_LARGEST <= value < _LARGEST else brief(value)
    if kind is float:
        return value if math.isfinite(value) else brief(value)
    if depth and isinstance(value, Mapping):
        return {_key(key): plain(member, depth - 1) for key, member in value.items()}
    if depth and isinstance(value, list | tuple):
        return [plain(member, depth - 1) for member in value]
    return brief(value)


def _kept(headers: Mapping[str, Any]) -> dict[str, Any]:
    """The headers as plain data, as many as there is room for. A large one is cut, so that the small ones stay."""
    kept: dict[str, Any] = {}
    room, cut = MOST_HEADERS, 0
    for name, value in headers.items():
        key, value = _key(name), plain(value)
        weight = len(key) * 4 + _weight(value)
        if key != name:
            cut += 1
        if weight > room // 4:
            value, cut = brief(value), cut + 1
            weight = len(key) * 4 + _weight(value)
            if weight > room:
                continue
        room -= weight
        kept[key] = value
    if cut:
        kept["umbel-dead-cut"] = cut
    return kept


def _weight(value: Any) -> int:
    """About how many bytes a plain value takes, rather more than fewer."""
    if isinstance(value, str):
        return 8 + (len(value) if value.isascii() else 4 * len(value))
    if isinstance(value, bytes):
        return 8 + 2 * len(value)
    if isinstance(value, dict):
        return 8 + sum(len(key) * 4 + _weight(member) for key, member in value.items())
    if isinstance(value, list):
        return 8 + sum(map(_weight, value))
    return 16


def _key(name: Any) -> str:
    text = str(name)[:_SHORT]
    return text if text.isascii() else text[: _SHORT // 4]


def _short(value: Any) -> str | None:
    """A text that fits into a property of AMQP, which has 255 bytes; None for anything else."""
    fits = isinstance(value, str) and len(value.encode("utf-8", "surrogatepass")) <= _SHORT
    return value if fits else None
