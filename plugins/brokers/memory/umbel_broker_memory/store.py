"""The named stores of this process: queues and exchanges that several brokers share."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Sequence

from umbel_broker_memory.exchange import MemoryExchange
from umbel_broker_memory.headers import freeze
from umbel_broker_memory.queue import Entry, MemoryQueue, Reader
from umbel_kernel.errors import ChannelError, NotSupported
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Exchange, Queue

TYPES = ("direct", "topic", "fanout")
_stores: dict[str, MemoryStore] = {}


class MemoryStore:
    """Queues and exchanges. Every time is in monotonic seconds of the caller's clock.

    Attributes:
        lock: held around every use of ``queues`` and of consumers' holds.
        leases: the consumers that hold something, each with the time at which its first hold runs out.
    """

    def __init__(self) -> None:
        # A signal handler or a finalizer may publish while its thread has it.
        self.lock = threading.RLock()
        self.queues: dict[str, MemoryQueue] = {}
        self.leases: dict[Reader, float] = {}
        self._exchanges: dict[str, MemoryExchange] = {}

    @classmethod
    def named(cls, name: str) -> MemoryStore:
        """The store of this name; made when it is not there."""
        return _stores.setdefault(name, cls())

    def declare(self, queue: Queue, owner: object) -> None:
        """Create a queue, its exchanges and bindings."""
        for binding in queue.bindings:
            self._check(binding.exchange)
        with self.lock:
            found = self.queues.get(queue.name)
            if found is None:
                found = self.queues[queue.name] = MemoryQueue(queue.name, queue)
                found.owner = owner if queue.exclusive else None
            elif found.declared is None:
                found.declared = queue
            elif wrong := _differences(found.declared, queue):
                raise ChannelError(
                    f"the queue {queue.name!r} exists with another {wrong}; delete it or declare it alike"
                )
            elif found.owner is not None and found.owner is not owner:
                raise ChannelError(f"the queue {queue.name!r} is exclusive to another connection")
            for binding in queue.bindings:
                self._bind(queue.name, binding.exchange, binding.routing_key)

    def bind(self, queue: str, exchange: Exchange, routing_key: str) -> None:
        """Bind a queue that exists."""
        self._check(exchange)
        with self.lock:
            if queue not in self.queues:
                raise ChannelError(f"there is no queue {queue!r} to bind; declare it first")
            self._bind(queue, exchange, routing_key)

    def delete(self, names: Iterable[str]) -> None:
        """Delete queues and their bindings."""
        with self.lock:
            for name in names:
                self._delete(name)

    def leave(self, names: Iterable[str]) -> None:
        """A consumer reads these no more. The lock is held."""
        for name in names:
            queue = self.queues.get(name)
            if queue is None:
                continue
            queue.readers -= 1
            if queue.readers <= 0 and queue.declared is not None and queue.declared.auto_delete:
                self._delete(name)

    def disown(self, owner: object) -> None:
        """Delete the exclusive queues of a connection that closes."""
        with self.lock:
            for name in [name for name, queue in self.queues.items() if queue.owner is owner]:
                self._delete(name)

    def publish(self, messages: Sequence[Message], now: float) -> None:
        """Put each message into the queues it leads to, and tell those who wait."""
        frozen = [freeze(message.headers) for message in messages]
        told: set[Reader] = set()
        with self.lock:
            for message, headers in zip(messages, frozen, strict=True):
                if message.exchange:
                    exchange = self._exchanges.get(message.exchange)
                    names = exchange.route(message.routing_key) if exchange is not None else ()
                else:
                    names = (message.routing_key,)
                for name in names:
                    queue = self.queues.get(name)
                    if queue is None:
                        queue = self.queues[name] = MemoryQueue(name, None)
                    ttl = message.expiration
                    if queue.declared is not None and queue.declared.message_ttl is not None:
                        ttl = queue.declared.message_ttl if ttl is None else min(ttl, queue.declared.message_ttl)
                    expires = None if ttl is None else now + ttl + (message.delay or 0)
                    queue.put(Entry(message, headers, name, 0, expires), now, delay=message.delay)
                    told |= queue.waiting
        for consumer in told:
            consumer.ring()

    def give_back(self, entries: Sequence[Entry], now: float, *, delays: Sequence[float] | None = None) -> set[Reader]:
        """Put held messages back in front, in their old order, or set them aside for some seconds. The lock is held.

        Returns the consumers to ring once the lock is free.
        """
        told: set[Reader] = set()
        for entry, delay in reversed(list(zip(entries, delays or [0.0] * len(entries), strict=True))):
            queue = self.queues.get(entry.queue)
            if queue is not None:
                if delay > 0:
                    entry.count -= 1  # nobody tried it
                queue.put(entry, now, delay=delay, front=True)
                told |= queue.waiting
        return told

    def _check(self, exchange: Exchange) -> None:
        if exchange.type not in TYPES:
            raise NotSupported(
                f"the memory broker has no {exchange.type!r} exchanges, as {exchange.name!r} is; "
                f"it has {', '.join(TYPES)}"
            )

    def _bind(self, queue: str, exchange: Exchange, routing_key: str) -> None:
        if not exchange.name:
            return
        found = self._exchanges.setdefault(exchange.name, MemoryExchange(exchange))
        if found.exchange.type != exchange.type:
            raise ChannelError(f"the exchange {exchange.name!r} exists with the type {found.exchange.type!r}")
        found.bind(queue, routing_key)

    def _delete(self, name: str) -> None:
        if self.queues.pop(name, None) is None:
            return
        for found in list(self._exchanges.values()):
            found.unbind(name)
            if found.exchange.auto_delete and not found.bound:
                del self._exchanges[found.exchange.name]


def _differences(there: Queue, asked: Queue) -> str:
    names = ("durable", "exclusive", "auto_delete", "max_priority", "message_ttl", "arguments")
    return ", ".join(name for name in names if getattr(there, name) != getattr(asked, name))


# A forked child starts empty: the messages are the parent's, and the locks may be held by threads that are gone.
os.register_at_fork(after_in_child=_stores.clear)
