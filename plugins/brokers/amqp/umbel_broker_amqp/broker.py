"""The AMQP 0-9-1 broker, for RabbitMQ."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from umbel_broker_amqp.address import Address
from umbel_broker_amqp.consumer import AmqpConsumer
from umbel_broker_amqp.delays import DELIVERY, Delays, bind, lay_out, waiting
from umbel_broker_amqp.outlet import Outlet
from umbel_broker_amqp.parking import Parking
from umbel_broker_amqp.settings import SETTINGS
from umbel_broker_amqp.topology import declare_exchange, declare_queue
from umbel_kernel.errors import ChannelError, OperationalError, PublishError
from umbel_kernel.spi.broker import Broker, BrokerCapability
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Exchange, Queue
from umbel_kernel.url import URL

logger = logging.getLogger("umbel.broker.amqp")
_LAYING_OUT = 30.0


class AmqpBroker(Broker):
    """Publishes with confirms on one connection; each consumer has a connection of its own.

    ``publish`` writes a batch at once and waits for its confirms once; ``post`` waits for none, and what is not
    confirmed stays in memory. With ``confirm_publish`` off there are no confirms, as in Celery's default: what the
    server loses is lost.

    ``DELAY`` is among the capabilities of an object only once it knows of a quorum queue, as with Celery, where a
    message with ``delay`` then waits in the server. Until then it is sent at once, and a consumer sends
    it to wait there.
    """

    capabilities = frozenset(
        {
            BrokerCapability.TOPIC,
            BrokerCapability.FANOUT,
            BrokerCapability.PRIORITY,
            BrokerCapability.TTL,
            BrokerCapability.CONFIRM,
            BrokerCapability.DELAY,
            BrokerCapability.PARK,
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
        window = int(self.options.get("confirm_window") or 10_000)
        self._outlet = Outlet(self._address, confirms=confirms, window=max(1, window), house=self._house)
        self._delays = Delays(self.options.get("broker_queues") or ())
        self._waits_as = str(self.options.get("broker_native_delayed_delivery_queue_type") or "quorum")
        self._lacks = {BrokerCapability.CONFIRM} if confirms is False else set()
        self._may_delay = True
        self._say()
        self._parking = Parking(self._outlet)
        self._ways: tuple[int, set[str]] = (-1, set())
        self._lock = threading.Lock()
        self._temporary: set[str] = set()
        self._consumers: set[AmqpConsumer] = set()

    def _say(self) -> None:
        """Set the capabilities that hold for this object."""
        lacks = set(self._lacks)
        if not (self._delays.used and self._may_delay):
            lacks.add(BrokerCapability.DELAY)
        self.capabilities = type(self).capabilities - lacks  # type: ignore[misc]

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
                elif not (queue.auto_delete or queue.expires):  # by which workers and clients talk
                    self._delays.note(queue)
        self._say()

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
        for message in messages:
            if message.delay is not None:
                return self._send(self._outlet.publish, messages, timeout)
        if messages:
            self._outlet.publish(messages, timeout)

    def post(self, messages: Sequence[Message], *, timeout: float = 5.0) -> None:
        """See ``Broker.post``. Writes at once, and now and then takes the confirms that have come.

        It waits when more than ``confirm_window`` are unconfirmed, and for the first message to an exchange of which
        this connection has not heard yet. With ``confirm_publish`` on it is ``publish``.

        Raises:
            PublishError: ``failed`` has all that is unconfirmed, earlier messages first.
            ChannelError: an exchange to which was posted earlier is gone. Those messages are given up and these are
                not sent; what else was unconfirmed is in ``failed`` of the next call's PublishError.
            EncodeError: as for ``publish``.
        """
        for message in messages:
            if message.delay is not None:
                return self._send(self._outlet.post, messages, timeout)
        if messages:
            self._outlet.post(messages, timeout)

    def flush(self, *, timeout: float = 5.0) -> None:
        """See ``Broker.flush``."""
        self._outlet.flush(timeout)

    @property
    def waiting(self) -> bool:
        """See ``Broker.waiting``."""
        return self._outlet.waiting

    def consumer(
        self, queues: Sequence[Queue], *, prefetch: int = 0, name: str = "", identity: str = ""
    ) -> AmqpConsumer:
        """See ``Broker.consumer``. Without ``prefetch`` the server sends what ``receive`` asks for and no more.

        Where messages are published to wait in the server, this is what creates the queues that they wait in.
        """
        delayed = [queue for queue in queues if self._delays.used and self._delays.known(queue)]
        if delayed:
            self._make_ways(delayed, _LAYING_OUT)
        consumer = AmqpConsumer(
            address=self._address,
            queues=queues,
            prefetch=prefetch,
            name=name,
            patience=float(self.options.get("read_timeout") or 5.0),
            parking=self._parking,
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

    def _send(self, send: Any, messages: Sequence[Message], timeout: float) -> None:
        """Send a batch of which some are to wait, those by the queues that they wait in."""
        sent, originals = list(messages), {}
        if self._delays.used:
            for place, message in enumerate(messages):
                queues = self._delays.through(message)
                if queues is not None and self._make_ways(queues, timeout):
                    sent[place] = waiting(message)
                    originals[id(sent[place])] = message
        try:
            send(sent, timeout)
        except PublishError as error:
            failed = [originals.get(id(message), message) for message in error.failed]
            raise PublishError(str(error), failed, error.taken) from error

    def _make_ways(self, queues: Sequence[Queue], timeout: float) -> bool:
        """See that what waits gets to these queues. Returns whether it does; if not, messages are sent at once."""
        epoch, ways = self._ways
        if epoch != self._outlet.epoch:
            ways = set()
        missing = [queue for queue in queues if queue.name not in ways]
        if not missing or not self._may_delay:
            return self._may_delay
        try:
            if self._if_there(lambda channel: channel.exchange_declare(DELIVERY, "topic", passive=True), timeout, True):
                with self._outlet.side(max(timeout, _LAYING_OUT)) as channel:
                    lay_out(channel, self._waits_as)
            for queue in missing:
                with self._outlet.side(timeout) as channel:
                    bind(channel, queue)
        except ChannelError as error:
            logger.warning("messages cannot wait in the broker, so workers hold them until their time: %s", error)
            self._may_delay = False
            self._say()
            return False
        self._ways = (self._outlet.epoch, ways | {queue.name for queue in missing})
        return True

    def _house(self, messages: Sequence[Message], timeout: float) -> list[Message]:
        """Declare anew the queues that messages were for and that were deleted; returns what can be sent again."""
        names = {message.routing_key for message in messages}
        queues = [queue for queue in map(self._delays.find, names) if queue is not None]
        try:
            self.declare(queues, timeout=timeout)
        except ChannelError as error:
            logger.error("a queue that was deleted cannot be declared again: %s", error)
            queues = []
        known = {queue.name for queue in queues}
        for name in sorted(names - known):
            count = sum(message.routing_key == name for message in messages)
            logger.error("%d messages for the queue %r are lost: there is no such queue", count, name)
        for name in sorted(known):
            logger.warning("the queue %r was deleted; it is declared again", name)
        return [message for message in messages if message.routing_key in known]

    def _forget(self, consumer: AmqpConsumer) -> None:
        with self._lock:
            self._consumers.discard(consumer)

    def _if_there(self, ask: Any, timeout: float, missing: Any = None) -> Any:
        """The answer of one request about a queue or an exchange, or ``missing`` when there is none."""
        try:
            with self._outlet.side(timeout) as channel:
                return ask(channel)
        except ChannelError as error:
            if getattr(error.__cause__, "reply_code", None) == 404:
                return missing
            raise
