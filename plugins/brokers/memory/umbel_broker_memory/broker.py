"""The in-process broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from umbel_broker_memory.consumer import MemoryConsumer
from umbel_broker_memory.store import MemoryStore
from umbel_kernel.clock import SYSTEM_CLOCK, Clock
from umbel_kernel.errors import ConfigurationError
from umbel_kernel.setting import Setting
from umbel_kernel.spi.broker import Broker, BrokerCapability, Consumer
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Exchange, Queue
from umbel_kernel.url import URL


class MemoryBroker(Broker):
    """A broker inside this process; all brokers of one URL path share their queues.

    Args:
        clock: what leases, delays and expiry go by.
    """

    capabilities = frozenset(
        {
            BrokerCapability.TOPIC,
            BrokerCapability.FANOUT,
            BrokerCapability.PRIORITY,
            BrokerCapability.DELAY,
            BrokerCapability.PARK,
            BrokerCapability.TTL,
            BrokerCapability.LEASE,
            BrokerCapability.CONFIRM,
            BrokerCapability.ATOMIC_RECEIVE,
            BrokerCapability.DELIVERY_COUNT,
            BrokerCapability.SIZE,
        }
    )
    settings = (
        Setting(
            "memory_lease", "float", 60.0, "Seconds after which a message that a silent consumer holds comes back."
        ),
    )

    def __init__(self, url: URL, options: Mapping[str, Any] | None = None, *, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__(url, options)
        self._clock = clock
        self._store = MemoryStore.named(f"{url.host or ''}{url.path.rstrip('/')}")
        self._consumers: set[MemoryConsumer] = set()
        self._lease = float(self.options.get("memory_lease", 60.0))
        if self._lease <= 0:
            raise ConfigurationError(f"memory_lease is a number of seconds over 0, not {self._lease}")

    def connect(self, *, timeout: float) -> None:
        """See ``Broker.connect``. There is nothing to reach."""

    def declare(self, queues: Sequence[Queue], *, timeout: float = 5.0) -> None:
        """See ``Broker.declare``."""
        for queue in queues:
            self._store.declare(queue, self)

    def bind(self, queue: str, exchange: Exchange, routing_key: str = "", *, timeout: float = 5.0) -> None:
        """See ``Broker.bind``."""
        self._store.bind(queue, exchange, routing_key)

    def delete(self, queues: Sequence[str], *, timeout: float = 5.0) -> None:
        """See ``Broker.delete``."""
        self._store.delete(queues)

    def purge(self, queues: Sequence[str], *, timeout: float = 5.0) -> int:
        """See ``Broker.purge``."""
        now = self._clock.monotonic()
        with self._store.lock:
            return sum(self._store.queues[name].purge(now) for name in queues if name in self._store.queues)

    def size(self, queues: Sequence[str], *, timeout: float = 5.0) -> dict[str, int]:
        """See ``Broker.size``."""
        now = self._clock.monotonic()
        with self._store.lock:
            there = self._store.queues
            return {name: there[name].size(now) if name in there else 0 for name in queues}

    def publish(self, messages: Sequence[Message], *, timeout: float = 5.0) -> None:
        """See ``Broker.publish``."""
        self._store.publish(messages, self._clock.monotonic())

    def consumer(self, queues: Sequence[Queue], *, prefetch: int = 0, name: str = "", identity: str = "") -> Consumer:
        """See ``Broker.consumer``. Nothing is sent ahead."""
        consumer = MemoryConsumer(self._store, queues, self._lease, self._clock, self._consumers.discard)
        self._consumers.add(consumer)
        return consumer

    def close(self) -> None:
        """See ``Broker.close``."""
        for consumer in list(self._consumers):
            consumer.close()
        self._store.disown(self)
