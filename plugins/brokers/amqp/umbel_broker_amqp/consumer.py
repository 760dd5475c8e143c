"""Reads queues on a connection of its own."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from struct import Struct

from umbel_broker_amqp.address import Address
from umbel_broker_amqp.content import END, FRAME
from umbel_broker_amqp.delays import LEVEL
from umbel_broker_amqp.delays import arrived as delays_arrived
from umbel_broker_amqp.intake import Intake, SingleIntake, is_quorum
from umbel_broker_amqp.parking import PARKED, Parking, arrived, parked
from umbel_broker_amqp.session import Session
from umbel_broker_amqp.unpacker import Unpacker
from umbel_broker_amqp.wake import WakePipe
from umbel_kernel.errors import ChannelError, NotSupported, OperationalError
from umbel_kernel.spi.broker import Consumer, Delay, delays
from umbel_kernel.spi.message import Delivery, Message
from umbel_kernel.spi.topology import Queue

_SETTLE = Struct(">HHQB")
_PLENTY = 1_000
_LONGEST = 30.0
_NOT_IMPLEMENTED = 540
_PRECONDITION_FAILED = 406


class AmqpConsumer(Consumer):
    """Asks for messages at the first ``receive``; what comes beyond ``limit`` is kept and is the first next time.

    Args:
        prefetch: how many may be unacknowledged at least; the server sends more only when as many as are held plus
            asked for are more.
        patience: seconds to wait for an answer of the server.
        parking: takes the messages that are to wait in the broker.
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
        parking: Parking,
        on_close: Callable[[AmqpConsumer], None],
    ) -> None:
        self._address = address
        self._queues = {queue.name: queue for queue in queues}
        self._fixed = prefetch
        self._name = name
        self._patience = patience
        self._parking = parking
        self._on_close = on_close
        self._counted = {queue.name for queue in queues if is_quorum(queue)}
        self._intake = (SingleIntake if self._counted else Intake)(queues, name, prefetch)
        self._unpacker = Unpacker(self._intake.names)
        self._ready: deque[Delivery] = deque()
        self._held: dict[int, Delivery] = {}
        self._leaving: list[tuple[Delivery, Message]] = []
        self._early: list[tuple[Delivery, float]] = []  # what has waited and is not due yet
        self._reading = False
        self._closed = False
        self._closing = threading.Lock()
        self._wake = WakePipe()
        try:
            self._session = self._open()
        except OperationalError:
            self._wake.close()
            raise
        try:
            self._session.within(patience)
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
        if self._leaving or self._early:
            self._send_to_wait()
        if limit > 0:
            if self._reading:
                self._intake.ask(self._session, limit, len(self._held), len(self._ready))
            else:
                self._begin(limit)
        session = self._session
        rests = limit <= 0 and self._reading and self._intake.rest(session, len(self._held))
        try:
            while session.wait(0):
                session.read()
                if len(self._ready) >= limit:
                    break
            while True:
                if self._early:
                    self._send_to_wait()
                if rests and self._ready:
                    self._turn_away()
                taken = self._take(limit)
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
            raise OperationalError(f"{error}; {_explain(error)}") from error

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See ``Consumer.ack``. What lies together is acknowledged by one frame."""
        self._settle(deliveries, 80, 0)

    def reject(self, deliveries: Sequence[Delivery], *, requeue: bool, delay: Delay = None) -> None:
        """See ``Consumer.reject``. What is to wait is published anew at the next ``receive``, all of it at once, and
        held until then."""
        if delay is not None and requeue:
            seconds = dict(zip(deliveries, delays(len(deliveries), delay), strict=True))
            leaving = {d: self._parked(d, s) for d, s in seconds.items() if s >= 1 and self._held.get(d.tag) is d}
            if leaving and not self._parking.prepare({message.exchange for message in leaving.values()}):
                raise NotSupported("the server does not let messages wait")
            self._leaving += leaving.items()
            deliveries = [delivery for delivery in deliveries if delivery not in leaving]
        self._settle(deliveries, 120, 2 if requeue else 0)

    def extend(self, deliveries: Sequence[Delivery]) -> None:
        """See ``Consumer.extend``. A hold lasts as long as the connection, which a heartbeat keeps."""
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

    def _begin(self, limit: int) -> None:
        self._reading = True
        session = self._session
        session.within(self._patience)
        try:
            with session.errors():
                self._intake.begin(session, limit)
        except ChannelError as error:
            session.abandon()
            raise OperationalError(f"{error}; make a new consumer") from error
        except OperationalError as error:
            refused = getattr(error.__cause__, "reply_code", None) == _NOT_IMPLEMENTED
            if isinstance(self._intake, SingleIntake) or not refused:
                raise
            # A queue is a quorum queue without our knowing, or the server has no global qos.
            self._intake = SingleIntake(list(self._queues.values()), self._name, self._fixed)
            self._unpacker = Unpacker(self._intake.names)
            self._session = self._open()
            self._begin(limit)

    def _open(self) -> Session:
        return Session(self._address, timeout=self._patience, on_content=self._content)

    def _turn_away(self) -> None:
        """Give back what has come when there was room for it, and is in the way of others now that there is none."""
        self._settle(self._take(len(self._ready)), 120, 2)

    def _take(self, limit: int) -> list[Delivery]:
        taken: list[Delivery] = []
        while self._ready and len(taken) < limit:
            delivery = self._ready.popleft()
            self._held[delivery.tag] = delivery
            taken.append(delivery)
        return taken

    def _content(self, method: bytes, header: bytes, body: bytes) -> None:
        delivery = self._unpacker.unpack(method, header, body)
        if delivery.queue in self._counted:
            count = delivery.headers.pop("x-delivery-count", 0)
            delivery.delivery_count = count if isinstance(count, int) else 0
        if delivery.exchange.startswith(LEVEL):
            delays_arrived(delivery, self._queues.get(delivery.queue))
        self._intake.came(method, delivery)
        left = arrived(delivery) if PARKED in delivery.headers else 0.0
        if left >= 1:
            self._early.append((delivery, left))
        else:
            self._ready.append(delivery)

    def _send_to_wait(self) -> None:
        leaving, self._leaving = self._leaving, []
        early, self._early = self._early, []
        again = [(delivery, self._parked(delivery, left)) for delivery, left in early]
        if self._parking.prepare({message.exchange for _, message in again}):
            self._held.update((delivery.tag, delivery) for delivery, _ in again)
            leaving += again
        else:
            self._ready.extend(delivery for delivery, _ in early)
        self._parking.send([message for _, message in leaving])
        self.ack([delivery for delivery, _ in leaving])

    def _parked(self, delivery: Delivery, seconds: float) -> Message:
        return parked(delivery, seconds, quorum=delivery.queue in self._counted)

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
        self._intake.settled(tags)
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
        names = self._intake.names
        return ", ".join(sorted(names.get(tag, tag) for tag in self._session.cancelled))


def _explain(error: ChannelError) -> str:
    """What to do about a channel that the server has closed."""
    cause = error.__cause__
    if getattr(cause, "reply_code", None) == _PRECONDITION_FAILED and "timed out" in str(cause):
        return (
            "a message was held unacknowledged for longer than consumer_timeout of the server allows, so all that was "
            "held is delivered again. Set consumer_timeout in rabbitmq.conf, or x-consumer-timeout among the queue's "
            "arguments, to more than the longest task with acks_late takes, or let the task be acknowledged early"
        )
    return "make a new consumer"
