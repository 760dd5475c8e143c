"""A consumer of queues in memory."""

from __future__ import annotations

import queue as waiting
from collections.abc import Callable, Sequence

from umbel_broker_memory.headers import thaw
from umbel_broker_memory.queue import Entry, Reader
from umbel_broker_memory.store import MemoryStore
from umbel_kernel.clock import Clock
from umbel_kernel.errors import OperationalError
from umbel_kernel.spi.broker import Consumer, Delay, delays
from umbel_kernel.spi.message import Delivery
from umbel_kernel.spi.topology import Queue

WOKEN, RUNG = True, False


class MemoryConsumer(Consumer):
    """Holds what it received until it settles it, its lease runs out, or it closes.

    Whoever wants its attention puts something on its bell: a ``SimpleQueue``, because its ``put`` may be called
    from a signal handler.
    """

    def __init__(
        self,
        store: MemoryStore,
        queues: Sequence[Queue],
        lease: float | None,
        clock: Clock,
        closed: Callable[[MemoryConsumer], None],
    ) -> None:
        self._store = store
        self._names = [queue.name for queue in queues]
        self._lease = lease
        self._clock = clock
        self._on_close = closed
        self._held: dict[Entry, float] = {}
        self._bell: waiting.SimpleQueue[bool] = waiting.SimpleQueue()
        self._woken = False
        self._closed = False
        self._lapsed = False
        with store.lock:
            for name in self._names:
                found = store.queues.get(name)
                if found is not None:
                    found.readers += 1

    @property
    def lease(self) -> float | None:
        """See ``Consumer.lease``."""
        return self._lease

    @property
    def in_doubt(self) -> bool:
        """See ``Consumer.in_doubt``. Here it is known: somebody else was given what this one held."""
        return self._lapsed

    def receive(self, limit: int, timeout: float | None) -> list[Delivery]:
        """See ``Consumer.receive``."""
        clock = self._clock
        end = None if timeout is None else clock.monotonic() + timeout
        try:
            while True:
                now = clock.monotonic()
                found, due = self._take(limit, now)
                if found:
                    return [_delivery(entry) for entry in found]
                if end is not None and (due is None or end < due):
                    due = end
                if self._heard(None if due is None else due - now) is WOKEN:
                    self._woken = False
                    return []
                if end is not None and clock.monotonic() >= end:
                    found, _ = self._take(limit, end)
                    return [_delivery(entry) for entry in found]
        finally:
            self._unwatch()

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See ``Consumer.ack``."""
        with self._store.lock:
            for delivery in deliveries:
                self._held.pop(delivery.tag, None)
            self._note_lease()

    def reject(self, deliveries: Sequence[Delivery], *, requeue: bool, delay: Delay = None) -> None:
        """See ``Consumer.reject``."""
        with self._store.lock:
            dropped: dict[Entry, float] = {}
            for delivery, seconds in zip(deliveries, delays(len(deliveries), delay), strict=True):
                if self._held.pop(delivery.tag, None) is not None:
                    dropped[delivery.tag] = seconds
            self._note_lease()
            told = (
                self._store.give_back(list(dropped), self._clock.monotonic(), delays=list(dropped.values()))
                if requeue
                else set()
            )
        for consumer in told:
            consumer.ring()

    def extend(self, deliveries: Sequence[Delivery]) -> None:
        """See ``Consumer.extend``."""
        if self._lease is None:
            return
        with self._store.lock:
            until = self._clock.monotonic() + self._lease
            for delivery in deliveries:
                if delivery.tag in self._held:
                    self._held[delivery.tag] = until
            self._note_lease()

    def missing(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """See ``Consumer.missing``."""
        self.extend(deliveries)
        with self._store.lock:
            self._lapsed = False
            return [delivery for delivery in deliveries if delivery.tag not in self._held]

    def wake(self) -> None:
        """See ``Consumer.wake``."""
        if not self._woken:
            self._woken = True
            self._bell.put(WOKEN)

    def ring(self) -> None:
        """Have it look at its queues again."""
        self._bell.put(RUNG)

    def close(self) -> None:
        """See ``Consumer.close``."""
        with self._store.lock:
            if self._closed:
                return
            self._closed = True
            told = self._store.give_back(list(self._held), self._clock.monotonic())
            self._held.clear()
            self._note_lease()
            self._store.leave(self._names)
        self._on_close(self)
        for consumer in told | {self}:
            consumer.ring()

    def expire(self, now: float) -> set[Reader]:
        """Give back the holds that have run out. The store's lock is held; returns the consumers to ring."""
        lost = [entry for entry, until in self._held.items() if until <= now]
        for entry in lost:
            del self._held[entry]
        self._lapsed = self._lapsed or bool(lost)
        self._note_lease()
        return self._store.give_back(lost, now)

    def _take(self, limit: int, now: float) -> tuple[list[Entry], float | None]:
        """What can be had now; else the time at which to look again, and from now on a ring when a message comes."""
        store, lease = self._store, self._lease
        found: list[Entry] = []
        due: list[float] = []
        told: set[Reader] = set()
        with store.lock:
            if self._closed:
                raise OperationalError("this consumer of the memory broker is closed; make a new one")
            if limit <= 0:
                return [], None
            for consumer in [one for one, until in store.leases.items() if until <= now]:
                told |= consumer.expire(now)
            for name in self._names:
                queue = store.queues.get(name)
                if queue is not None:
                    found += queue.take(limit - len(found), now)
                    if len(found) >= limit:
                        break
            if found:
                until = float("inf") if lease is None else now + lease
                for entry in found:
                    entry.count += 1
                    self._held[entry] = until
                if lease is not None:
                    store.leases.setdefault(self, until)
            else:
                for name in self._names:
                    queue = store.queues.get(name)
                    if queue is not None:
                        queue.waiting.add(self)
                        if (later := queue.next_due()) is not None:
                            due.append(later)
                due.extend(store.leases.values())
        for consumer in told - {self}:
            consumer.ring()
        return found, min(due, default=None)

    def _heard(self, seconds: float | None) -> bool | None:
        try:
            return self._bell.get(timeout=None if seconds is None else max(0.0, seconds))
        except waiting.Empty:
            return None

    def _unwatch(self) -> None:
        with self._store.lock:
            for name in self._names:
                queue = self._store.queues.get(name)
                if queue is not None:
                    queue.waiting.discard(self)

    def _note_lease(self) -> None:
        if self._held and self._lease is not None:
            self._store.leases[self] = min(self._held.values())
        else:
            self._store.leases.pop(self, None)


def _delivery(entry: Entry) -> Delivery:
    message = entry.message
    return Delivery(
        message.body,
        entry.queue,
        entry,
        message.routing_key,
        message.exchange,
        message.content_type,
        message.content_encoding,
        thaw(entry.headers),
        message.correlation_id,
        message.reply_to,
        message.priority,
        entry.count > 1,
        entry.count - 1,
        dict(message.properties),
    )
