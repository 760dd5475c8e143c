"""The broker: a directory that its users share."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from umbel_broker_directory.consumer import DirectoryConsumer
from umbel_broker_directory.envelope import pack
from umbel_broker_directory.store import Bindings, Store
from umbel_kernel.errors import ConfigurationError, NotSupported, OperationalError, PublishError
from umbel_kernel.setting import Setting
from umbel_kernel.spi.broker import Broker, BrokerCapability, Consumer
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Exchange, Queue
from umbel_kernel.url import URL


class DirectoryBroker(Broker):
    """Messages are files below the path of the URL, as in ``directory:///var/spool/umbel``."""

    capabilities = frozenset(
        {
            BrokerCapability.FANOUT,
            BrokerCapability.CONFIRM,
            BrokerCapability.ATOMIC_RECEIVE,
            BrokerCapability.DELIVERY_COUNT,
            BrokerCapability.PERSISTENT,
            BrokerCapability.SHARED,
            BrokerCapability.SIZE,
        }
    )
    settings = (Setting("directory_poll_interval", "float", 0.05, "Seconds between two looks into an empty queue."),)

    def __init__(self, url: URL, options: Mapping[str, Any] | None = None) -> None:
        super().__init__(url, options)
        if not url.path.strip("/"):
            raise ConfigurationError(f"{url} names no directory; write it as directory:///var/spool/umbel")
        self._poll = float(self.options.get("directory_poll_interval", 0.05))
        self._store = Store(Path(url.path))
        self._consumers: set[DirectoryConsumer] = set()

    def connect(self, *, timeout: float) -> None:
        """See ``Broker.connect``."""
        with self._translated("use"):
            self._store.create()

    def declare(self, queues: Sequence[Queue], *, timeout: float = 5.0) -> None:
        """See ``Broker.declare``."""
        for queue in queues:
            for binding in queue.bindings:
                _check(binding.exchange)
        with self._translated("declare queues in"), self._store.locked():
            for queue in queues:
                self._store.waiting(queue.name).mkdir(parents=True, exist_ok=True)
                for binding in queue.bindings:
                    self._store.bind(queue.name, binding.exchange, binding.routing_key)

    def bind(self, queue: str, exchange: Exchange, routing_key: str = "", *, timeout: float = 5.0) -> None:
        """See ``Broker.bind``."""
        _check(exchange)
        with self._translated("bind a queue in"), self._store.locked():
            self._store.bind(queue, exchange, routing_key)

    def delete(self, queues: Sequence[str], *, timeout: float = 5.0) -> None:
        """See ``Broker.delete``."""
        with self._translated("delete queues in"), self._store.locked():
            for queue in queues:
                self._store.delete(queue)

    def purge(self, queues: Sequence[str], *, timeout: float = 5.0) -> int:
        """See ``Broker.purge``."""
        dropped = 0
        with self._translated("purge queues in"):
            for queue in queues:
                for name in self._store.first(queue, self._store.size(queue)):
                    with contextlib.suppress(FileNotFoundError):
                        os.unlink(self._store.waiting(queue) / name)
                        dropped += 1
        return dropped

    def size(self, queues: Sequence[str], *, timeout: float = 5.0) -> dict[str, int]:
        """See ``Broker.size``."""
        with self._translated("count messages in"):
            return {queue: self._store.size(queue) for queue in queues}

    def publish(self, messages: Sequence[Message], *, timeout: float = 5.0) -> None:
        """See ``Broker.publish``."""
        taken = 0
        try:
            with self._store.locked():
                bindings = self._store.bindings()
                for message in messages:
                    data = pack(message)
                    for queue in _route(message, bindings):
                        self._store.add(queue, data)
                    taken += 1
        except OSError as error:
            reason = f"cannot publish in {self.url}: {error}; {taken} of {len(messages)} messages were taken"
            raise PublishError(reason, messages[taken:], taken) from error

    def consumer(self, queues: Sequence[Queue], *, prefetch: int = 0, name: str = "", identity: str = "") -> Consumer:
        """See ``Broker.consumer``. Nothing is sent ahead."""
        with self._translated("read"):
            consumer = DirectoryConsumer(
                self._store, [queue.name for queue in queues], poll=self._poll, on_close=self._consumers.discard
            )
        self._consumers.add(consumer)
        return consumer

    def close(self) -> None:
        """See ``Broker.close``."""
        for consumer in list(self._consumers):
            consumer.close()

    @contextlib.contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OperationalError(f"cannot {what} {self.url}: {error}; is it a directory you may write?") from error


def _check(exchange: Exchange) -> None:
    if exchange.type not in ("direct", "fanout"):
        raise NotSupported(
            f"a directory has direct and fanout exchanges; {exchange.name!r} is a {exchange.type} exchange"
        )


def _route(message: Message, bindings: Bindings) -> list[str]:
    if not message.exchange:
        return [message.routing_key]
    keys = bindings.get(message.exchange, {})
    return list(dict.fromkeys([*keys.get("*", ()), *keys.get(f"={message.routing_key}", ())]))
