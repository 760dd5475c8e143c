"""The outcome of one task: everything the worker has to do about it, as one value."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from operator import attrgetter
from typing import Any

from umbel.app.outbox import Outgoing
from umbel_kernel.spi.backend import Record


class Verdict(enum.StrEnum):
    """What is to happen with the message of a task that has ended."""

    ACK = "ack"
    FAILED = "failed"
    """Acknowledge or reject, as ``acks_on_failure`` says."""
    TIMED_OUT = "timed_out"
    """Acknowledge or reject, as ``acks_on_timeout`` says."""
    REJECT = "reject"
    REQUEUE = "requeue"
    DEAD = "dead"
    """Nobody can understand it: to the dead-letter queue, with ``text`` as the reason."""


@dataclass(slots=True)
class TaskOutcome:
    """How a task ended.

    Attributes:
        task_id: the task's id.
        name: the task's name.
        state: the state it ended in.
        runtime: seconds that it ran.
        text: its result or its error, in short.
        verdict: what is to happen with its message.
        record: what to store, or None.
        outgoing: messages that follow from it: the next of a chain, callbacks, its own retry.
        traceback: the error's, or None.
        value: the result or the exception itself; it does not leave the process.
    """

    task_id: str
    name: str
    state: str
    runtime: float = 0.0
    text: str = ""
    verdict: Verdict = Verdict.ACK
    record: Record | None = None
    outgoing: list[Outgoing] = field(default_factory=list)
    traceback: str | None = None
    value: Any = None

    def pack(self) -> tuple[Any, ...]:
        """As plain data, to cross into another process."""
        return (
            self.task_id,
            self.name,
            self.state,
            self.runtime,
            self.text,
            self.verdict.value,
            pack_record(self.record),
            [outgoing.pack() for outgoing in self.outgoing] if self.outgoing else None,
            self.traceback,
        )

    @classmethod
    def unpack(cls, packed: tuple[Any, ...], queues: Any) -> TaskOutcome:
        """The reverse of ``pack``."""
        task_id, name, state, runtime, text, verdict, record, outgoing, traceback = packed
        return cls(
            task_id,
            name,
            state,
            runtime,
            text,
            _VERDICTS[verdict],
            None if record is None else Record(*record),
            [Outgoing.unpack(each, queues) for each in outgoing] if outgoing else [],
            traceback,
        )


def pack_record(record: Record | None) -> tuple[Any, ...] | None:
    """A record as plain data; ``Record(*packed)`` is the reverse."""
    return None if record is None else _fields(record)


_fields = attrgetter("task_id", "state", "body", "content_type", "content_encoding", "expires", "reply_to", "fence")
_VERDICTS = {verdict.value: verdict for verdict in Verdict}
