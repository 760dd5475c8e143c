"""Any transport of kombu as a broker."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from umbel_broker_kombu.consumer import KombuConsumer
from umbel_broker_kombu.settings import SETTINGS
from umbel_broker_kombu.translate import arguments, outgoing
from umbel_broker_kombu.transport import Transport
from umbel_broker_kombu.trouble import translated
from umbel_kernel.errors import ChannelError, NotSupported, OperationalError, PublishError
from umbel_kernel.spi.broker import Broker, BrokerCapability
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Exchange, Queue
from umbel_kernel.url import URL


class KombuBroker(Broker):
    """``kombu+<transport>://…``: the rest of the URL goes to kombu.

    What an instance can do depends on its transport and stands in its own ``capabilities``; the class names what any
    transport may have. One connection and channel publish, under a lock; each consumer has a connection of its own.
    """

    capabilities = frozenset(BrokerCapability) - {
        BrokerCapability.DELAY,
        BrokerCapability.LEASE,
        BrokerCapability.DELIVERY_COUNT,
    }
    settings = SETTINGS

    def __init__(self, url: URL, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(url, options)
        self._interval = float(self.options.pop("wake_interval", None) or 0.05)
        self._transport = Transport(url, self.options)
        self.capabilities = self._transport.capabilities  # type: ignore[misc]
        self._lock = threading.RLock()
        self._connection: Any = None
        self._channel: Any = None
        self._exchanges: dict[str, Exchange] = {}
        self._consumers: set[KombuConsumer] = set()

    def connect(self, *, timeout: float) -> None:
        """See ``Broker.connect``."""
        with self._lock:
            self._open(timeout)

    def declare(self, queues: Sequence[Queue], *, timeout: float = 5.0) -> None:
        """See ``Broker.declare``."""
        for queue in queues:
            for binding in queue.bindings:
                self._check(binding.exchange)
        with self._working(timeout) as channel:
            for queue in queues:
                self._declare(channel, queue)

    def bind(self, queue: str, exchange: Exchange, routing_key: str = "", *, timeout: float = 5.0) -> None:
        """See ``Broker.bind``."""
        self._check(exchange)
        if exchange.name:
            with self._working(timeout) as channel:
                self._declare_exchange(channel, exchange)
                channel.queue_bind(queue, exchange.name, routing_key)

    def delete(self, queues: Sequence[str], *, timeout: float = 5.0) -> None:
        """See ``Broker.delete``."""

        def delete(channel: Any, queue: str) -> None:
            if self._transport.virtual:
                channel.queue_purge(queue)
            channel.queue_delete(queue)
            if self._transport.virtual:  # where the bindings are kept in this process, kombu leaves them
                for exchange in channel.state.exchanges.values():
                    exchange["table"] = [bound for bound in exchange["table"] if bound[2] != queue]

        for queue in queues:
            self._if_there(delete, queue, timeout)

    def purge(self, queues: Sequence[str], *, timeout: float = 5.0) -> int:
        """See ``Broker.purge``."""
        return sum(self._if_there(lambda channel, q: channel.queue_purge(q), queue, timeout) or 0 for queue in queues)

    def size(self, queues: Sequence[str], *, timeout: float = 5.0) -> dict[str, int]:
        """See ``Broker.size``."""
        if BrokerCapability.SIZE not in self.capabilities:
            raise NotSupported(f"the kombu transport of {self.url.masked()} does not count messages")
        found: dict[str, int] = {}
        for queue in queues:
            there = self._if_there(lambda channel, q: channel.queue_declare(q, passive=True), queue, timeout)
            found[queue] = int(there.message_count) if there is not None else 0
        return found

    def publish(self, messages: Sequence[Message], *, timeout: float = 5.0) -> None:
        """See ``Broker.publish``. One by one, as kombu's transports take them."""
        end = time.monotonic() + timeout
        taken = 0
        try:
            with self._working(timeout) as channel:
                for message in messages:
                    if time.monotonic() > end:
                        raise OperationalError(f"{self.url.masked()} did not take it within {timeout:g} s")
                    known = self._exchanges.get(message.exchange)
                    if known is not None and self._transport.virtual:
                        self._declare_exchange(channel, known)
                    prepared = outgoing(channel, message)
                    options = {} if self._transport.virtual else {"timeout": max(0.001, end - time.monotonic())}
                    channel.basic_publish(
                        prepared, exchange=message.exchange, routing_key=message.routing_key, **options
                    )
                    taken += 1
        except (OperationalError, ChannelError, TypeError, ValueError) as error:
            raise PublishError(
                f"{len(messages) - taken} of {len(messages)} were not taken: {error}", messages[taken:], taken
            ) from error

    def consumer(
        self, queues: Sequence[Queue], *, prefetch: int = 0, name: str = "", identity: str = ""
    ) -> KombuConsumer:
        """See ``Broker.consumer``."""
        consumer = KombuConsumer(
            transport=self._transport,
            queues=queues,
            prefetch=prefetch,
            interval=self._interval,
            prepare=self._declare,
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
            self._drop()

    def _forget(self, consumer: KombuConsumer) -> None:
        with self._lock:
            self._consumers.discard(consumer)

    def _check(self, exchange: Exchange) -> None:
        if exchange.name and exchange.type not in self._transport.exchange_types:
            raise NotSupported(
                f"exchange {exchange.name!r} is of type {exchange.type!r}; the kombu transport of {self.url.masked()} "
                f"has {', '.join(sorted(self._transport.exchange_types))}"
            )

    def _declare(self, channel: Any, queue: Queue) -> None:
        channel.queue_declare(
            queue=queue.name,
            durable=queue.durable,
            exclusive=queue.exclusive and self._transport.virtual,
            auto_delete=queue.auto_delete,
            arguments=arguments(channel, queue),
        )
        for binding in queue.bindings:
            if binding.exchange.name:
                self._declare_exchange(channel, binding.exchange)
                channel.queue_bind(queue.name, binding.exchange.name, binding.routing_key, arguments=binding.arguments)

    def _declare_exchange(self, channel: Any, exchange: Exchange) -> None:
        known = self._exchanges.setdefault(exchange.name, exchange)
        if known.type != exchange.type:
            raise ChannelError(f"exchange {exchange.name!r} is declared as {known.type}, and now as {exchange.type}")
        if not exchange.name.startswith("amq."):
            channel.exchange_declare(
                exchange=exchange.name,
                type=exchange.type,
                durable=exchange.durable,
                auto_delete=exchange.auto_delete,
                arguments=exchange.arguments,
            )

    def _open(self, timeout: float) -> Any:
        if self._connection is not None and not self._connection.connected:
            self._drop()
        if self._connection is None:
            self._connection = self._transport.connection(timeout)
        if self._channel is None or getattr(self._channel, "closed", False) or not _open(self._channel):
            with translated(self._connection, self.url.masked(), self._drop):
                self._connection.connect()
                self._channel = self._connection.channel()
        return self._channel

    @contextmanager
    def _working(self, timeout: float) -> Iterator[Any]:
        with self._lock:
            channel = self._open(timeout)
            with translated(self._connection, self.url.masked(), self._drop):
                yield channel

    def _if_there(self, ask: Callable[[Any, str], Any], queue: str, timeout: float) -> Any:
        """The answer of one request about a queue, or None when there is no such queue."""
        try:
            with self._working(timeout) as channel:
                return ask(channel, queue)
        except ChannelError as error:
            if str(getattr(error.__cause__, "reply_code", "")) == "404" or "404" in map(
                str, getattr(error.__cause__, "args", ())
            ):
                return None
            raise

    def _drop(self) -> None:
        connection, self._connection, self._channel = self._connection, None, None
        if connection is not None:
            try:
                connection.release()
            except (*connection.connection_errors, *connection.channel_errors, OSError):
                return


def _open(channel: Any) -> bool:
    """Whether a channel of AMQP is open; the others say so by ``closed``."""
    return bool(getattr(channel, "is_open", True))
