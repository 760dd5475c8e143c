"""Reads queues through a kombu consumer."""

from __future__ import annotations

import logging
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from kombu.entity import Queue as KombuQueue
from kombu.messaging import Consumer as KombuReader

from umbel_broker_kombu.translate import incoming
from umbel_broker_kombu.transport import Transport
from umbel_broker_kombu.trouble import translated
from umbel_broker_kombu.wake import WakePipe
from umbel_kernel.errors import ChannelError, OperationalError
from umbel_kernel.spi.broker import Consumer, Delay
from umbel_kernel.spi.message import Delivery
from umbel_kernel.spi.topology import Queue

logger = logging.getLogger(__name__)


class KombuConsumer(Consumer):
    """Drains kombu's events into a queue of its own, in short slices where there is no one socket to wait on.

    Args:
        prefetch: how many the transport may take ahead; 0: as many as held plus asked for.
        interval: seconds between two looks for ``wake`` where they are needed.
        prepare: declares a queue on this consumer's own channel, which virtual transports need.
        on_close: called once with this consumer after it has closed.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        queues: Sequence[Queue],
        prefetch: int,
        interval: float,
        prepare: Callable[[Any, Queue], None],
        on_close: Callable[[KombuConsumer], None],
    ) -> None:
        self._transport = transport
        self._fixed = prefetch
        self._interval = interval
        self._on_close = on_close
        self._ready: deque[Delivery] = deque()
        self._held: dict[Any, Delivery] = {}
        self._prefetch = -1
        self._queues = [queue.name for queue in queues]
        self._reading = False
        self._closed = False
        self._closing = threading.Lock()
        self._wake = WakePipe()
        self._connection = transport.connection(5.0, consuming=True)
        self._ticked = time.monotonic()
        reader: Any = KombuReader
        named: Any = KombuQueue
        self._consumers: list[Any] = []
        try:
            with self._translated():
                self._connection.connect()
                self._channel = self._connection.channel()
                if transport.virtual:
                    for queue in queues:
                        prepare(self._channel, queue)
                self._consumers = [
                    reader(
                        self._channel,
                        [named(queue.name, no_declare=True)],
                        auto_declare=False,
                        on_message=self._callback(queue.name),
                    )
                    for queue in queues
                ]
        except (OperationalError, ChannelError):
            self._end()
            raise

    def receive(self, limit: int, timeout: float | None) -> list[Delivery]:
        """See ``Consumer.receive``."""
        if self._closed:
            raise OperationalError("this consumer is closed; make a new one")
        end = None if timeout is None else time.monotonic() + timeout
        with self._translated():
            if limit > 0:
                self._ask(limit)
            while True:
                while limit > 0 and len(self._ready) < limit and self._drain(0.0):
                    pass
                taken = self._take(limit)
                self._beat()
                if taken:
                    return taken
                left = self._interval * 20 if end is None else end - time.monotonic()
                if self._wake.drain() or left <= 0:
                    return []
                self._pause(left, listen=limit > 0)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See ``Consumer.ack``."""
        self._settle(deliveries, lambda tag: self._channel.basic_ack(tag))

    def reject(self, deliveries: Sequence[Delivery], *, requeue: bool, delay: Delay = None) -> None:
        """See ``Consumer.reject``."""
        self._settle(deliveries, lambda tag: self._channel.basic_reject(tag, requeue=requeue))

    def wake(self) -> None:
        """See ``Consumer.wake``."""
        self._wake.wake()

    def close(self) -> None:
        """See ``Consumer.close``."""
        with self._closing:
            if self._closed:
                return
            self._closed = True
        self._end()
        self._on_close(self)

    def _end(self) -> None:
        self._closed = True
        connection = self._connection
        try:
            channel = getattr(self, "_channel", None)
            if channel is not None:
                if self._transport.virtual:  # not every virtual transport does so when its channel is closed
                    for consumer in self._consumers:
                        consumer.cancel()
                    for delivery in [*self._held.values(), *self._ready]:
                        channel.basic_reject(delivery.tag, requeue=True)
                channel.close()
            connection.release()
        except (*connection.connection_errors, *connection.channel_errors, OSError) as error:
            logger.debug("closing a consumer of %s: %s", self._transport.shown, type(error).__name__)
        self._wake.close()

    def _translated(self) -> Any:
        return translated(self._connection, self._transport.shown)

    def _callback(self, queue: str) -> Callable[[Any], None]:
        def take(message: Any) -> None:
            self._ready.append(incoming(message, queue))

        return take

    def _ask(self, limit: int) -> None:
        wanted = self._fixed or len(self._held) + limit
        if wanted != self._prefetch:
            self._prefetch = wanted
            self._channel.basic_qos(0, wanted, not self._fixed and not self._transport.virtual)
        if not self._reading:
            self._reading = True
            for consumer in self._consumers:
                consumer.consume()

    def _drain(self, timeout: float) -> bool:
        """Let kombu read once. Returns whether anything came."""
        before = len(self._ready)
        try:
            self._connection.drain_events(timeout=timeout)
        except TimeoutError:
            return False
        except (ValueError, TypeError, KeyError, LookupError) as error:
            logger.error(
                "a message in one of %s of %s cannot be read and kombu has dropped it: %s: %s",
                self._queues,
                self._transport.shown,
                type(error).__name__,
                error,
            )
            return True
        return len(self._ready) > before

    def _pause(self, left: float, *, listen: bool) -> None:
        """Wait for a message, for ``wake`` or for the time."""
        poller = select.poll()
        poller.register(self._wake.fileno(), select.POLLIN)
        sock = None if self._transport.virtual else getattr(self._connection.connection, "sock", None)
        if not listen or sock is not None:
            if listen and sock is not None:
                poller.register(sock.fileno(), select.POLLIN)
            poller.poll(round(min(left, 30.0) * 1000 + 0.499))
        elif not poller.poll(0):
            self._drain(min(left, self._interval))

    def _beat(self) -> None:
        if self._transport.heartbeats and time.monotonic() - self._ticked > 1.0:
            self._ticked = time.monotonic()
            if self._connection.get_heartbeat_interval():
                self._connection.heartbeat_check()

    def _take(self, limit: int) -> list[Delivery]:
        taken: list[Delivery] = []
        while self._ready and len(taken) < limit:
            delivery = self._ready.popleft()
            self._held[delivery.tag] = delivery
            taken.append(delivery)
        return taken

    def _settle(self, deliveries: Sequence[Delivery], settle: Callable[[Any], None]) -> None:
        with self._translated():
            for delivery in deliveries:
                if self._held.get(delivery.tag) is delivery:
                    del self._held[delivery.tag]
                    settle(delivery.tag)
