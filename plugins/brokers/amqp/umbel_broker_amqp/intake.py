"""How many messages the server may send ahead: as many as there is room for.

On classic queues one number holds for the whole channel and can be changed at any time (RabbitMQ's global qos). Quorum
queues refuse it: there each consumer has a number of its own, fixed when it begins. So where it is too small, another
consumer begins beside the first. One that was sent all that it may is cancelled then: what it was sent stays with the
channel, to be acknowledged as ever. One that may be sent more is left alone, since what is just on its way to it would
go back to the queue and count as delivered; only where far too much may be sent ahead that is the lesser evil.

Source: https://www.rabbitmq.com/docs/consumer-prefetch and https://www.rabbitmq.com/docs/quorum-queues
"""

from __future__ import annotations

import itertools
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Any

from umbel_broker_amqp.content import END, FRAME
from umbel_broker_amqp.session import Session
from umbel_broker_amqp.table import short
from umbel_kernel.spi.message import Delivery
from umbel_kernel.spi.topology import Queue

MOST = 65_535
"""The most messages that AMQP can say; 0 is no limit."""

_QOS = Struct(">HHIHB")
_FEW = 32
_TOO_MANY = 4
_WINDOW = 10.0
_REMEMBERED = 100
_NO_TABLE = b"\0\0\0\0"


class Intake:
    """For queues that take one number for all of them.

    Args:
        queues: what is read.
        name: who reads, for people who look into the broker.
        fixed: how many may be sent at least.

    Attributes:
        names: the queue of each consumer tag.
    """

    def __init__(self, queues: Sequence[Queue], name: str, fixed: int) -> None:
        self._queues = {queue.name: queue for queue in queues}
        self._fixed = min(fixed, MOST)
        self._prefix = f"{name or 'umbel'}.{uuid.uuid4().hex[:12]}"
        self._numbers = itertools.count()
        self._prefetch = 0
        self._may_pause = not any(map(_needs_a_reader, queues))
        self._paused = False
        self.names: dict[str, str] = {}

    def begin(self, session: Session, limit: int) -> None:
        """Consume. Call within ``session.errors()``."""
        self._prefetch = self._number(0, limit)
        session.channel.basic_qos(0, self._prefetch, True)
        for queue in self._queues.values():
            session.channel.basic_consume(queue.name, consumer_tag=self._tag(queue.name), exclusive=queue.exclusive)

    def ask(self, session: Session, limit: int, held: int, ready: int) -> None:
        """See that ``limit`` messages can come.

        Args:
            held: how many the caller holds.
            ready: how many have come that the caller does not hold yet.
        """
        self._limit(session, self._number(held, limit))
        if self._paused:
            self._paused = False
            session.write(b"".join(_read(session, self._queues[queue], tag) for tag, queue in self.names.items()))

    def rest(self, session: Session, held: int) -> bool:
        """See that no more come than are held. Returns whether what has come already may go back: it must not where
        the server counts that as a delivery that failed, nor where it would come again at once.
        """
        if self._fixed > held:
            return False
        if held or not self._may_pause:
            if max(held, 1) < self._prefetch or not self._prefetch:
                self._limit(session, max(held, 1))
            return bool(held)
        # No number means that none may come.
        if not self._paused:
            self._paused = True
            session.write(b"".join(_stop(session, tag) for tag in self.names))
        return True

    def came(self, method: bytes, delivery: Delivery) -> None:
        """A message came; ``method`` is its ``basic.deliver``."""

    def settled(self, tags: Iterable[int]) -> None:
        """These are acknowledged or given back."""

    def _limit(self, session: Session, wanted: int) -> None:
        if wanted != self._prefetch:
            self._prefetch = wanted
            session.write(_frame(session, _QOS.pack(60, 10, 0, wanted, 1)))

    def _number(self, held: int, limit: int) -> int:
        wanted = max(self._fixed, held + limit)
        return wanted if wanted <= MOST else 0

    def _tag(self, queue: str) -> str:
        tag = f"{self._prefix}.{next(self._numbers)}"
        self.names[tag] = queue
        return tag


@dataclass(slots=True)
class _Reader:
    """A consumer of one queue."""

    tag: str
    prefetch: int
    open: int = 0  # how many it was sent that are not settled

    @property
    def free(self) -> int:
        """How many more it may be sent."""
        return self.prefetch - self.open


class SingleIntake(Intake):
    """For queues of which each takes numbers of its own, for good.

    Args:
        now: the monotonic time.
    """

    def __init__(
        self, queues: Sequence[Queue], name: str, fixed: int, *, now: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(queues, name, fixed)
        self._now = now
        self._readers: dict[str, list[_Reader]] = {name: [] for name in self._queues}
        self._owners: dict[int, _Reader] = {}
        self._by_tag: dict[bytes, _Reader] = {}
        self._retired: deque[_Reader] = deque()
        self._widest = self._before = 0
        self._turned = now()

    def begin(self, session: Session, limit: int) -> None:
        """See ``Intake.begin``."""
        prefetch = self._fit(limit)
        session.channel.basic_qos(0, prefetch, False)
        for queue in self._queues.values():
            reader = self._reader(queue.name, prefetch)
            session.channel.basic_consume(queue.name, consumer_tag=reader.tag, exclusive=queue.exclusive)

    def ask(self, session: Session, limit: int, held: int, ready: int) -> None:
        """See ``Intake.ask``."""
        wanted = self._fit(limit)
        enough = limit if limit <= _FEW else limit // 2
        most = max(_FEW, wanted * _TOO_MANY)
        frames: list[bytes] = []
        for queue, readers in self._readers.items():
            free = sum(reader.free for reader in readers)
            if free + ready < enough:
                for full in [reader for reader in readers if reader.free <= 0]:
                    frames.append(self._cancel(session, queue, full))
                frames += self._consume(session, queue, wanted)
            elif free > most:
                frames += self._cut(session, queue, wanted, most)
        if frames:
            session.write(b"".join(frames))

    def rest(self, session: Session, held: int) -> bool:
        """See ``Intake.rest``."""
        return False

    def came(self, method: bytes, delivery: Delivery) -> None:
        """See ``Intake.came``."""
        reader = self._by_tag.get(method[4 : 5 + method[4]])
        if reader is not None:
            reader.open += 1
            self._owners[delivery.tag] = reader

    def settled(self, tags: Iterable[int]) -> None:
        """See ``Intake.settled``."""
        owners = self._owners
        for tag in tags:
            reader = owners.pop(tag, None)
            if reader is not None:
                reader.open -= 1

    def _fit(self, limit: int) -> int:
        """The number that fits what was asked for of late; few different ones, so that readers are seldom replaced."""
        now = self._now()
        if now - self._turned > _WINDOW:
            self._turned, self._before, self._widest = now, self._widest, limit
        self._widest = max(self._widest, limit)
        widest = max(self._widest, self._before, self._fixed, 1)
        return widest if widest <= _FEW else min(1 << (widest - 1).bit_length(), MOST)

    def _reader(self, queue: str, prefetch: int) -> _Reader:
        reader = _Reader(self._tag(queue), prefetch)
        self._readers[queue].append(reader)
        self._by_tag[short(reader.tag)] = reader
        return reader

    def _consume(self, session: Session, queue: str, prefetch: int) -> Iterator[bytes]:
        reader = self._reader(queue, prefetch)
        yield _frame(session, _QOS.pack(60, 10, 0, prefetch, 0))
        yield _read(session, self._queues[queue], reader.tag)

    def _cut(self, session: Session, queue: str, wanted: int, most: int) -> Iterator[bytes]:
        """Keep the readers that may be sent the least, as many as are needed."""
        total = 0
        for reader in sorted(self._readers[queue], key=lambda reader: reader.free):
            if total < wanted and total + reader.free <= most:
                total += reader.free
            else:
                yield self._cancel(session, queue, reader)
        if total < wanted:
            yield from self._consume(session, queue, wanted)

    def _cancel(self, session: Session, queue: str, reader: _Reader) -> bytes:
        """End a reader, and forget the oldest that were ended; what was on its way to a younger one is still known."""
        self._readers[queue].remove(reader)
        self._retired.append(reader)
        while len(self._retired) > _REMEMBERED and not self._retired[0].open:
            gone = self._retired.popleft()
            del self._by_tag[short(gone.tag)], self.names[gone.tag]
        return _stop(session, reader.tag)


def _frame(session: Session, method: bytes) -> bytes:
    return FRAME.pack(1, session.number, len(method)) + method + END


def _read(session: Session, queue: Queue, tag: str) -> bytes:
    bits = bytes((8 | (4 if queue.exclusive else 0),))
    return _frame(session, b"\x00\x3c\x00\x14\0\0" + short(queue.name) + short(tag) + bits + _NO_TABLE)


def _stop(session: Session, tag: str) -> bytes:
    return _frame(session, b"\x00\x3c\x00\x1e" + short(tag) + b"\x01")


def _needs_a_reader(queue: Queue) -> bool:
    """Whether a queue would go, or go to another reader for good, when nobody reads it for a while."""
    special = {"x-expires", "x-single-active-consumer"} & queue.arguments.keys()
    return bool(queue.exclusive or queue.auto_delete or queue.expires or special)


def is_quorum(queue: Queue) -> bool:
    """Whether a queue is of RabbitMQ's replicated kind."""
    found: Any = queue.arguments.get("x-queue-type")
    return bool(found == "quorum")
