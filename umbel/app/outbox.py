"""Messages on their way out, and a place to gather them instead of sending each alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue


@dataclass(slots=True)
class Outgoing:
    """A message and the queue that must be there before it is published; None when an exchange routes it."""

    message: Message
    queue: Queue | None

    def pack(self) -> tuple[Any, ...]:
        """As plain data, to cross into another process. The queue travels by its name."""
        m = self.message
        return (
            m.body,
            m.routing_key,
            m.exchange,
            m.content_type,
            m.content_encoding,
            m.headers,
            m.correlation_id,
            m.reply_to,
            m.priority,
            m.delivery_mode,
            m.expiration,
            m.delay,
            m.properties,
            self.queue.name if self.queue is not None else None,
        )

    @classmethod
    def unpack(cls, packed: tuple[Any, ...], queues: Any) -> Outgoing:
        """The reverse of ``pack``, with the queue looked up among an app's queues."""
        *fields, name = packed
        return cls(Message(*fields), queues[name] if name is not None else None)


_outbox: ContextVar[list[Outgoing] | None] = ContextVar("umbel_outbox", default=None)


def current() -> list[Outgoing] | None:
    """The outbox in force here, or None when messages go out at once."""
    return _outbox.get()


@contextlib.contextmanager
def gathering() -> Iterator[list[Outgoing]]:
    """Within it, what is published is put into the list instead, for somebody else to publish as one batch."""
    gathered: list[Outgoing] = []
    token = _outbox.set(gathered)
    try:
        yield gathered
    finally:
        _outbox.reset(token)
