"""Reads queues on a connection of its own."""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from struct import Struct

from umbel_broker_amqp.address import Address
from umbel_broker_amqp.content import END, FRAME, unpack
from umbel_broker_amqp.session import Session
from umbel_broker_amqp.topology import arguments
from umbel_broker_amqp.wake import WakePipe
from umbel_kernel.errors import ChannelError, OperationalError
from umbel_kernel.spi.broker import Consumer
from umbel_kernel.spi.message import Delivery
from umbel_kernel.spi.topology import Queue

logger = logging.getLogger("umbel.broker.amqp")
_SETTLE = Struct(">HHQB")
_QOS = Struct(">HHIHB")
_MOST = 65_535
_UNLIMITED = 0
_PLENTY = 1_000
_LONGEST = 30.0
_QUORUM = 32
_NOT_IMPLEMENTED = 540


class AmqpConsumer(Consumer):
    """Asks for messages at the first ``receive``; what comes beyond ``limit`` is kept and is the first next time.

    Args:
        prefetch: how many may be unacknowledged at least; the server sends more only when as many as are held plus
            asked for are more. On quorum queues it is the most, and what is held counts.
        patience: seconds to wait for an answer of the server.
        on_close: called once with this consumer after it has closed.
    """

    def __init__(
        self,
        *,
        address: Address,
        queues: Sequence[Queue],
        prefetch: int,
        name: str,
        patience: float,
        on_close: Callable[[AmqpConsumer], None],
    ) -> None:
        self._address = address
        self._queues = list(queues)
        self._fixed = min(prefetch, _MOST)
        self._patience = patience
        self._on_close = on_close
        self._names = {f"{name or 'umbel'}.{uuid.uuid4().hex[:12]}.{n}": q.name for n, q in enumerate(queues)}
        self._counted = {q.name for q in queues if arguments(q).get("x-queue-type") == "quorum"}
        self._ready: deque[Delivery] = deque()
        self._held: dict[int, Delivery] = {}
        self._prefetch = 0
        self._reading = False
        self._closed = False
        self._closing = threading.Lock()
        self._writing = threading.Lock()
        self._wake = WakePipe()
        try:
            self._session = self._open()
        except OperationalError:
            self._wake.close()
            raise
        try:
            with self._session.errors():
                for queue in queues:
                    self._session.side().queue_declare(queue.name, passive=True)
        except (OperationalError, ChannelError):
            self._session.abandon()
            self._wake.close()
            raise

    def receive(self, limit: int, timeout: float | None) -> list[Delivery]:
        """See ``Consumer.receive``."""
        if self._closed:
            raise OperationalError("this consumer is closed; make a new one")
        end = None if timeout is None else time.monotonic() + timeout
        if limit > 0:
            self._ask(limit)
        session = self._session
        try:
            while session.wait(0):
                session.read()
                if len(self._ready) >= limit:
                    break
            while True:
                taken = self._take(limit)
                session.poke()
                if taken:
                    return taken
                if session.cancelled:
                    raise OperationalError(f"the server ended reading from {self._gone()}: the queue was deleted")
                left = _LONGEST if end is None else min(_LONGEST, end - time.monotonic())
                if limit <= 0 and len(self._ready) >= _PLENTY:
                    self._wake.wait(max(0.0, left))
                elif session.wait(max(0.0, left), self._wake.fileno()):
                    session.read()
                    taken = self._take(limit)
                    if taken:
                        return taken
                if self._wake.drain() or (end is not None and time.monotonic() >= end):
                    return []
        except ChannelError as error:
            session.abandon()
            raise OperationalError(f"{error}; make a new consumer") from error

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See ``Consumer.ack``. What lies together is acknowledged by one frame."""
        self._settle(deliveries, 80, 0)

    def reject(self, deliveries: Sequence[Delivery], *, requeue: bool, delay: float | None = None) -> None:
        """See ``Consumer.reject``."""
        self._settle(deliveries, 120, 2 if requeue else 0)

    def extend(self, deliveries: Sequence[Delivery]) -> None:
        """See ``Consumer.extend``. A hold lasts as long as the connection, which a heartbeat keeps."""
        with self._writing:
            self._session.beat()

    def wake(self) -> None:
        """See ``Consumer.wake``."""
        self._wake.wake()

    def close(self) -> None:
        """See ``Consumer.close``. The server gives back what was held."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._held.clear()
        self._ready.clear()
        self._session.close(min(self._patience, 2.0))
        self._wake.close()
        self._on_close(self)

    def _ask(self, limit: int) -> None:
        """Tell the server how many to send."""
        session = self._session
        wanted = max(self._fixed, len(self._held) + limit)
        if wanted > _MOST:
            wanted = _UNLIMITED
        if not self._reading:
            self._begin(wanted)
        elif wanted != self._prefetch and not self._counted:
            if wanted == _UNLIMITED:
                logger.warning("more than %d messages are held; the server now sends without limit", _MOST - limit)
            self._prefetch = wanted
            data = _QOS.pack(60, 10, 0, wanted, 1)
            with self._writing:
                session.write(FRAME.pack(1, session.number, len(data)) + data + END)

    def _begin(self, wanted: int) -> None:
        """Consume. How many the server sends can be changed later only for classic queues (RabbitMQ's global qos)."""
        self._reading = True
        self._prefetch = wanted
        session = self._session
        session.within(self._patience)
        try:
            with session.errors():
                if self._counted:
                    session.channel.basic_qos(0, self._fixed or max(wanted, _QUORUM), False)
                else:
                    session.channel.basic_qos(0, wanted, True)
                for name, queue in self._names.items():
                    exclusive = any(q.exclusive for q in self._queues if q.name == queue)
                    session.channel.basic_consume(queue, consumer_tag=name, exclusive=exclusive)
        except ChannelError as error:
            session.abandon()
            raise OperationalError(f"{error}; make a new consumer") from error
        except OperationalError as error:
            if self._counted or getattr(error.__cause__, "reply_code", None) != _NOT_IMPLEMENTED:
                raise
            self._counted = {queue.name for queue in self._queues}
            self._session = self._open()
            self._begin(wanted)

    def _open(self) -> Session:
        return Session(
            self._address, timeout=self._patience, heartbeat=self._address.heartbeat, on_content=self._content
        )

    def _take(self, limit: int) -> list[Delivery]:
        taken: list[Delivery] = []
        while self._ready and len(taken) < limit:
            delivery = self._ready.popleft()
            self._held[delivery.tag] = delivery
            taken.append(delivery)
        return taken

    def _content(self, method: bytes, header: bytes, body: bytes) -> None:
        delivery = unpack(method, header, body, self._names)
        count = delivery.headers.get("x-delivery-count")
        if isinstance(count, int):
            delivery.delivery_count = count
        elif delivery.queue in self._counted:
            delivery.delivery_count = 0
        self._ready.append(delivery)

    def _settle(self, deliveries: Sequence[Delivery], method: int, bits: int) -> None:
        tags = {d.tag for d in deliveries if self._held.get(d.tag) is d}
        if not tags:
            return
        number = self._session.number
        frames: list[bytes] = []
        for tag, multiple in self._ranges(tags):
            data = _SETTLE.pack(60, method, tag, bits | multiple)
            frames += (FRAME.pack(1, number, len(data)), data, END)
        for tag in tags:
            del self._held[tag]
        with self._writing:
            self._session.write(b"".join(frames))

    def _ranges(self, tags: set[int]) -> Iterator[tuple[int, int]]:
        """Each tag to settle, and 1 when it stands for all before it: those that begin the row of the held ones."""
        last = count = 0
        for tag in self._held:
            if tag not in tags:
                break
            last, count = tag, count + 1
        if count:
            yield last, 1 if count > 1 else 0
        if count < len(tags):
            for tag in sorted(tags):
                if tag > last:
                    yield tag, 0

    def _gone(self) -> str:
        return ", ".join(sorted(self._names.get(name, name) for name in self._session.cancelled))
