"""Messages on their way out, and a place to gather them instead of sending each alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from umbel.model.later import Later

if TYPE_CHECKING:
    from umbel_kernel.spi import message as messages
    from umbel_kernel.spi.message import Message
    from umbel_kernel.spi.topology import Queue
else:
    messages = Later("umbel_kernel.spi.message")

END_HEADER = "umbel-chord"
"""Names in a chord's body the group of its header and the run of the member that made it complete."""


class Outgoing:
    """A message to be published.

    Attributes:
        queue: the queue that must be there before; None when an exchange routes it.
        ends: the chords from whose end it follows, each its group and the run of the member that made its header
            complete. They are told when it is published.
        begins: the chords with whose header it is sent, each its group and how many members it has. The result store
            is told of them before it is published.
    """

    # No dataclass, as nothing is that every app imports: making the class takes longer than importing its module, and
    # the module ``dataclasses`` four times as long.
    __slots__ = ("begins", "ends", "message", "queue")

    def __init__(
        self,
        message: Message,
        queue: Queue | None,
        ends: tuple[tuple[str, str], ...] = (),
        begins: tuple[tuple[str, int], ...] = (),
    ) -> None:
        self.message = message
        self.queue = queue
        self.ends = ends
        self.begins = begins

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
            self.ends,
            self.begins,
        )

    @classmethod
    def unpack(cls, packed: tuple[Any, ...], queues: Any) -> Outgoing:
        """The reverse of ``pack``, with the queue looked up among an app's queues."""
        *fields, name, ends, begins = packed
        return cls(messages.Message(*fields), queues[name] if name is not None else None, ends, begins)


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


@contextlib.contextmanager
def batching(app: Any) -> Iterator[None]:
    """Within it, messages are kept back, and published at its end, in batches. After an error none is."""
    with gathering() as gathered:
        yield
    if gathered:
        app.publisher.publish(gathered)


@contextlib.contextmanager
def beginning(app: Any, group_id: str, size: int) -> Iterator[None]:
    """Within it the header of a chord is sent, of which the result store is told before.

    Where messages are gathered, the first says so to whoever publishes it: a task that a chord follows has not failed
    because the store was away when it ended.

    Raises:
        OperationalError: nothing is gathered here, and the store is away.
    """
    gathered = _outbox.get()
    if gathered is None:
        app.backend.begin_chord(group_id, size)
        yield
        return
    before = len(gathered)
    yield
    for first in gathered[before : before + 1]:
        first.begins = (*first.begins, (group_id, size))


@contextlib.contextmanager
def ending(app: Any, group_id: str, run: str, sent: str | None = None) -> Iterator[None]:
    """Within it what follows from the end of a chord is published, together.

    Each message says whose it is, so that it is not run when another run of the member has published it, too. A single
    one belongs to the end of the chord. Of several each is asked for by itself, because not all of them may have been
    published; ``sent`` tells them from those of an earlier sending of the chord, and without it they say nothing.
    """
    with gathering() as gathered:
        yield
    # Those with an end are of another chord, in whose header the body would have been.
    own = [outgoing for outgoing in gathered if not outgoing.ends]
    if len(own) == 1 or sent is not None:
        for number, outgoing in enumerate(own):
            message, whose = outgoing.message, group_id if len(own) == 1 else f"{group_id}:{sent}:{number}"
            message.form, message.headers = None, {**message.headers, END_HEADER: f"{whose}/{run}"}
    end = (group_id, run)
    for outgoing in gathered:
        outgoing.ends = (*outgoing.ends, end)
    outer = _outbox.get()
    if outer is not None and gathered:
        outer.extend(gathered)
        return
    if gathered:
        app.publisher.publish(gathered)
    app.backend.end_chord(group_id, run)
