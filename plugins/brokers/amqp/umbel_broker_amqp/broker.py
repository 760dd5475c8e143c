"""The AMQP 0-9-1 broker, for RabbitMQ."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

from umbel_broker_amqp.address import Address
from umbel_broker_amqp.consumer import AmqpConsumer
from umbel_broker_amqp.outlet import Outlet
from umbel_broker_amqp.settings import SETTINGS
from umbel_broker_amqp.topology import declare_exchange, declare_queue
from umbel_kernel.errors import ChannelError, OperationalError
from umbel_kernel.spi.broker import Broker, BrokerCapability
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Exchange, Queue
from umbel_kernel.url import URL


class AmqpBroker(Broker):
    """Publishes with confirms on one connection; each consumer has a connection of its own.

    ``publish`` writes a batch at once and waits for its confirms once; ``post`` waits for none, and what is not
    confirmed stays in memory. With ``confirm_publish`` off there are no confirms, as in Celery's default: what the
    server loses is lost.
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
        confirms = self.options.get("confirm_publish")
        confirms = None if confirms is None else bool(confirms)
        window = int(self.options.get("confirm_window") or 1000)
        self._outlet = Outlet(self._address, confirms=confirms, window=max(1, window))
        if confirms is False:
            self.capabilities = type(self).capabilities - {BrokerCapability.CONFIRM}  # type: ignore[misc]
        self._lock = threading.Lock()
        self._temporary: set[str] = set()
        self._consumers: set[AmqpConsumer] = set()

    def connect(self, *, timeout: float) -> None:
        """See ``Broker.connect``."""
        self._outlet.connect(timeout)

    def declare(self, queues: Sequence[Queue], *, timeout: float = 5.0) -> None:
        """See ``Broker.declare``."""
        with self._outlet.side(timeout) as channel:
            for queue in queues:
                declare_queue(channel, queue)
                if queue.exclusive:
                    self._temporary.add(queue.name)

    def bind(self, queue: str, exchange: Exchange, routing_key: str = "", *, timeout: float = 5.0) -> None:
        """See ``Broker.bind``."""
        if exchange.name:
            with self._outlet.side(timeout) as channel:
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
        """See ``Broker.publish``. Waits for what was posted before, too.

        When the server closes the channel because of some messages, such as those for an exchange that is not there,
        only those are in ``failed``: what was sent beside them is sent once more.

        Raises:
            EncodeError: a header or property cannot be written; nothing of the batch is sent.
        """
        if messages:
            self._outlet.publish(messages, timeout)

    def post(self, messages: Sequence[Message], *, timeout: float = 5.0) -> None:
        """See ``Broker.post``. Writes at once and takes the confirms that have come.

        It waits when more than ``confirm_window`` are unconfirmed, and for the first message to an exchange of which
        this connection has not heard yet. With ``confirm_publish`` on it is ``publish``.

        Raises:
            PublishError: ``failed`` has all that is unconfirmed, earlier messages first.
            ChannelError: an exchange to which was posted earlier is gone. Those messages are given up and these are
                not sent; what else was unconfirmed is in ``failed`` of the next call's PublishError.
            EncodeError: as for ``publish``.
        """
        if messages:
            self._outlet.post(messages, timeout)

    def flush(self, *, timeout: float = 5.0) -> None:
        """See ``Broker.flush``."""
        self._outlet.flush(timeout)

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
        with self._outlet.lock:
            try:
                if self._temporary and self._outlet.alive:
                    self.delete(sorted(self._temporary), timeout=1.0)
            except (OperationalError, ChannelError):
                pass  # they go by themselves after half an hour
            self._outlet.close(1.0)

    def _forget(self, consumer: AmqpConsumer) -> None:
        with self._lock:
            self._consumers.discard(consumer)

    def _if_there(self, ask: Any, timeout: float) -> Any:
        """The answer of one request about a queue, or None when there is no such queue."""
        try:
            with self._outlet.side(timeout) as channel:
                return ask(channel)
        except ChannelError as error:
            if getattr(error.__cause__, "reply_code", None) == 404:
                return None
            raise
