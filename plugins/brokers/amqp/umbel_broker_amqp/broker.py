"""The AMQP 0-9-1 broker, for RabbitMQ."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from umbel_broker_amqp.address import Address
from umbel_broker_amqp.consumer import AmqpConsumer
from umbel_broker_amqp.content import pack
from umbel_broker_amqp.session import Session
from umbel_broker_amqp.settings import SETTINGS
from umbel_broker_amqp.topology import declare_exchange, declare_queue
from umbel_kernel.errors import ChannelError, OperationalError, PublishError
from umbel_kernel.spi.broker import Broker, BrokerCapability
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Exchange, Queue
from umbel_kernel.url import URL


class AmqpBroker(Broker):
    """Publishes with confirms on one connection; each consumer has a connection of its own.

    A batch is written at once and waited for once. With ``confirm_publish`` off nothing is waited for, as in Celery's
    default: faster for single messages, and what the server loses is lost.
    """

    capabilities = frozenset(
        {
            BrokerCapability.TOPIC,
            BrokerCapability.FANOUT,
            BrokerCapability.PRIORITY,
            BrokerCapability.TTL,
            BrokerCapability.CONFIRM,
            BrokerCapability.ATOMIC_RECEIVE,
            BrokerCapability.DELIVERY_COUNT,
            BrokerCapability.PERSISTENT,
            BrokerCapability.SHARED,
            BrokerCapability.SIZE,
        }
    )
    settings = SETTINGS

    def __init__(self, url: URL, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(url, options)
        self._address = Address(url, self.options)
        self._confirms = bool(self.options.get("confirm_publish", True))
        if not self._confirms:
            self.capabilities = type(self).capabilities - {BrokerCapability.CONFIRM}  # type: ignore[misc]
        self._lock = threading.RLock()
        self._session: Session | None = None
        self._published = 0
        self._waiting: dict[int, Message] = {}
        self._refused: list[Message] = []
        self._temporary: set[str] = set()
        self._consumers: set[AmqpConsumer] = set()

    def connect(self, *, timeout: float) -> None:
        """See ``Broker.connect``."""
        with self._lock:
            self._open(timeout)

    def declare(self, queues: Sequence[Queue], *, timeout: float = 5.0) -> None:
        """See ``Broker.declare``."""
        with self._side(timeout) as channel:
            for queue in queues:
                declare_queue(channel, queue)
                if queue.exclusive:
                    self._temporary.add(queue.name)

    def bind(self, queue: str, exchange: Exchange, routing_key: str = "", *, timeout: float = 5.0) -> None:
        """See ``Broker.bind``."""
        if exchange.name:
            with self._side(timeout) as channel:
                declare_exchange(channel, exchange)
                channel.queue_bind(queue, exchange.name, routing_key)

    def delete(self, queues: Sequence[str], *, timeout: float = 5.0) -> None:
        """See ``Broker.delete``."""
        for queue in queues:
            self._if_there(lambda channel, name=queue: channel.queue_delete(name), timeout)
            self._temporary.discard(queue)

    def purge(self, queues: Sequence[str], *, timeout: float = 5.0) -> int:
        """See ``Broker.purge``."""
        return sum(
            self._if_there(lambda channel, name=queue: channel.queue_purge(name), timeout) or 0 for queue in queues
        )

    def size(self, queues: Sequence[str], *, timeout: float = 5.0) -> dict[str, int]:
        """See ``Broker.size``."""
        found: dict[str, int] = {}
        for queue in queues:
            there = self._if_there(lambda channel, name=queue: channel.queue_declare(name, passive=True), timeout)
            found[queue] = int(there.message_count) if there is not None else 0
        return found

    def publish(self, messages: Sequence[Message], *, timeout: float = 5.0) -> None:
        """See ``Broker.publish``."""
        if not messages:
            return
        with self._lock:
            end = time.monotonic() + timeout
            try:
                session = self._open(timeout)
                data = [self._pack(message, session) for message in messages]
            except OperationalError as error:
                failed = error.failed if isinstance(error, PublishError) else messages
                raise PublishError(str(error), failed) from error
            self._refused = []
            if self._confirms:
                self._waiting = dict(enumerate(messages, self._published + 1))
                self._published += len(messages)
            try:
                session.within(timeout)
                session.write(b"".join(data))
                while self._waiting:
                    left = end - time.monotonic()
                    if left <= 0:
                        raise OperationalError(f"no confirmation from {self.url.masked()} within {timeout:g} s")
                    if session.wait(left):
                        session.read()
            except (OperationalError, ChannelError) as error:
                self._drop()
                failed = [*self._refused, *self._waiting.values()] if self._confirms else list(messages)
                raise PublishError(
                    f"{len(failed)} of {len(messages)} were not taken: {error}", failed, len(messages) - len(failed)
                ) from error
            if self._refused:
                raise PublishError(
                    f"{self.url.masked()} refused {len(self._refused)} of {len(messages)} messages",
                    self._refused,
                    len(messages) - len(self._refused),
                )

    def consumer(self, queues: Sequence[Queue], *, prefetch: int = 0, name: str = "") -> AmqpConsumer:
        """See ``Broker.consumer``. Without ``prefetch`` the server sends what ``receive`` asks for and no more."""
        consumer = AmqpConsumer(
            address=self._address,
            queues=queues,
            prefetch=prefetch,
            name=name,
            patience=float(self.options.get("read_timeout") or 5.0),
            on_close=self._forget,
        )
        with self._lock:
            self._consumers.add(consumer)
        return consumer

    def close(self) -> None:
        """See ``Broker.close``."""
        with self._lock:
            consumers = list(self._consumers)
        for consumer in consumers:
            consumer.close()
        with self._lock:
            try:
                if self._session is not None and self._session.alive and self._temporary:
                    self.delete(sorted(self._temporary), timeout=1.0)
            except (OperationalError, ChannelError):
                pass  # they go by themselves after half an hour
            session, self._session = self._session, None
            if session is not None:
                session.close(1.0)

    def _forget(self, consumer: AmqpConsumer) -> None:
        with self._lock:
            self._consumers.discard(consumer)

    def _open(self, timeout: float) -> Session:
        """The session for publishing, a new one when the old one has died unnoticed."""
        session = self._session
        if session is not None:
            try:
                while session.alive and session.wait(0):
                    session.read()
            except (OperationalError, ChannelError):
                self._drop()
            if session.alive:
                return session
            self._drop()
        session = Session(self._address, timeout=timeout, on_settled=self._settled)
        if self._confirms:
            with session.errors():
                session.channel.confirm_select()
        self._published = 0
        self._waiting = {}
        self._session = session
        return session

    def _drop(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.abandon()

    def _settled(self, tag: int, multiple: bool, taken: bool) -> None:
        tags = [each for each in self._waiting if each <= tag] if multiple else [tag]
        for each in tags:
            message = self._waiting.pop(each, None)
            if message is not None and not taken:
                self._refused.append(message)

    def _pack(self, message: Message, session: Session) -> bytes:
        try:
            return pack(message, session.number, session.frame_max)
        except (ValueError, TypeError, OverflowError) as error:
            raise PublishError(f"a message for {message.routing_key!r} cannot be sent: {error}", (message,)) from error

    @contextmanager
    def _side(self, timeout: float) -> Iterator[Any]:
        with self._lock:
            session = self._open(timeout)
            session.within(timeout)
            channel = session.side()
            try:
                with session.errors():
                    yield channel
            except OperationalError:
                self._drop()
                raise

    def _if_there(self, ask: Any, timeout: float) -> Any:
        """The answer of one request about a queue, or None when there is no such queue."""
        try:
            with self._side(timeout) as channel:
                return ask(channel)
        except ChannelError as error:
            if getattr(error.__cause__, "reply_code", None) == 404:
                return None
            raise
