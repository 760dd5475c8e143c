"""The contract of a broker: what moves messages."""

from __future__ import annotations

import enum
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeAlias

from umbel_kernel.setting import Setting
from umbel_kernel.spi.message import Delivery, Message
from umbel_kernel.spi.topology import Exchange, Queue
from umbel_kernel.url import URL


class BrokerCapability(enum.StrEnum):
    """What a broker can do beyond direct delivery with acknowledgement."""

    TOPIC = "topic"
    FANOUT = "fanout"
    PRIORITY = "priority"
    DELAY = "delay"  # ``Message.delay`` is kept by the broker, whoever reads the queue
    PARK = "park"  # the ``delay`` of ``reject`` is kept by the broker
    TTL = "ttl"  # ``Message.expiration`` and ``Queue.message_ttl`` are kept
    LEASE = "lease"  # what a dead consumer held comes back by itself; ``extend`` keeps it while the consumer lives
    CONFIRM = "confirm"  # ``publish`` returns only when the broker has taken responsibility
    ATOMIC_RECEIVE = "atomic_receive"  # a consumer killed at any moment of ``receive`` loses nothing
    DELIVERY_COUNT = "delivery_count"
    PERSISTENT = "persistent"  # messages outlive the broker's own process
    SHARED = "shared"  # other processes see the same queues
    SIZE = "size"
    GROUP_URL = "group_url"  # several URLs name one group of servers, all in ``URL.raw``; else each is tried in turn


Delay: TypeAlias = float | Sequence[float] | None


def delays(count: int, delay: Delay) -> Sequence[float]:
    """The delay of each of so many deliveries; 0 for none."""
    return [delay or 0.0] * count if delay is None or isinstance(delay, int | float) else delay


class Consumer(ABC):
    """Reads from some queues. One thread at a time uses it, not always the same, but for ``wake`` and ``extend``."""

    @abstractmethod
    def receive(self, limit: int, timeout: float | None) -> list[Delivery]:
        """Take up to ``limit`` messages, in the order of their queues' priorities and age.

        Returns as soon as there is at least one, or after ``timeout`` seconds (None: no limit; 0: do not wait), or
        when ``wake`` is called, whichever is first. With ``limit`` 0 nothing is taken: it waits for ``wake`` or the
        timeout and keeps the connection alive.

        Raises:
            OperationalError: the connection is lost. What was held and not acknowledged comes back to some consumer;
                this object is of no more use but for ``close``.
        """

    def watch(self, file: int) -> bool:
        """Let ``receive`` return, as after ``wake``, also whenever this descriptor is readable. Returns whether it
        does; where it does not, which is the default, somebody else has to watch it and call ``wake``."""
        return False

    @abstractmethod
    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """Say that these are done. One that this consumer no longer holds is passed over.

        Raises:
            OperationalError: the connection is lost; all or some may come back.
        """

    @abstractmethod
    def reject(self, deliveries: Sequence[Delivery], *, requeue: bool, delay: Delay = None) -> None:
        """Give these back (``requeue``), at the front where the broker can, or drop them.

        Args:
            delay: seconds before they may be delivered again, or those of each; only with ``PARK``, else passed over.
                One below a second may count as none. Nobody tried what waits so: it does not count as delivered before.
        Raises:
            OperationalError: as for ``ack``.
            NotSupported: these cannot wait in the broker after all; they are still held.
        """

    def extend(self, deliveries: Sequence[Delivery]) -> None:  # noqa: B027 - a default, not a duty
        """Keep the hold on these for one more lease; with none it only says that this consumer lives. May be called
        from another thread. Default: does nothing, for brokers whose hold lasts as long as the connection."""

    @property
    def lease(self) -> float | None:
        """Seconds that a hold lasts without ``extend``; None when it lasts as long as the connection."""
        return None

    @property
    def identity(self) -> str:
        """What ``Broker.consumer`` is given to go on with what this one holds after its connection was lost. Default:
        empty, for holds that end with the connection."""
        return ""

    @property
    def in_doubt(self) -> bool:
        """Whether a lease may have run out since ``missing`` was last asked, because this process was stopped or could
        not renew it; what is missing then went to others. Asked in every turn of a worker, so without I/O. Default: no,
        as holds end with the connection."""
        return False

    def missing(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        """Renew what is held and say which of these are not, since somebody else may have them. One that goes on under
        an earlier ``identity`` is told here what is known of that hold, and gives back the rest. Default: none.

        Raises:
            OperationalError: the connection is lost.
        """
        return ()

    @abstractmethod
    def wake(self) -> None:
        """End a ``receive`` that waits, now or the next one. Callable from any thread and from a signal handler; never
        blocks and never raises."""

    @abstractmethod
    def close(self) -> None:
        """Stop reading and give back what is held; after a lost connection, what has an ``identity`` stays held until
        its lease runs out. Never raises; a second call does nothing."""


class Broker(ABC):
    """A connection to a broker. Its methods may be called from several threads.

    ``__init__`` does no I/O. After a fork the child makes a new one and does not touch the parent's.

    Args:
        url: where the broker is.
        options: ``broker_transport_options`` together with the plugin's own settings by their names.
    """

    capabilities: ClassVar[frozenset[BrokerCapability]] = frozenset()
    settings: ClassVar[tuple[Setting, ...]] = ()

    def __init__(self, url: URL, options: Mapping[str, Any] | None = None) -> None:
        self.url = url
        self.options: dict[str, Any] = dict(options or {})

    @abstractmethod
    def connect(self, *, timeout: float) -> None:
        """Reach the broker within ``timeout`` seconds; does nothing when already connected.

        Raises:
            OperationalError: it cannot be reached; the message has the masked URL and the cause.
        """

    @abstractmethod
    def declare(self, queues: Sequence[Queue], *, timeout: float = 5.0) -> None:
        """Create what is missing of these queues, their exchanges and bindings.

        Raises:
            ChannelError: one exists with other properties.
            NotSupported: an exchange type that the capabilities do not name.
        """

    @abstractmethod
    def bind(self, queue: str, exchange: Exchange, routing_key: str = "", *, timeout: float = 5.0) -> None:
        """Create the exchange if need be and bind the queue, which must exist, to it."""

    @abstractmethod
    def delete(self, queues: Sequence[str], *, timeout: float = 5.0) -> None:
        """Delete these queues with what is in them. One that is not there is passed over."""

    @abstractmethod
    def purge(self, queues: Sequence[str], *, timeout: float = 5.0) -> int:
        """Drop every message waiting in these queues. Returns how many there were."""

    @abstractmethod
    def size(self, queues: Sequence[str], *, timeout: float = 5.0) -> dict[str, int]:
        """How many messages wait in each queue, not counting held ones; 0 for a queue not there.

        Raises:
            NotSupported: without ``SIZE``.
        """

    @abstractmethod
    def publish(self, messages: Sequence[Message], *, timeout: float = 5.0) -> None:
        """Hand over a batch, in order. Returns when the broker has taken them all.

        A message whose exchange binds no queue is dropped, as in AMQP. A message straight to a queue that does not
        exist creates it where queues need no declaration.

        Raises:
            PublishError: not all were taken within ``timeout`` seconds; ``failed`` has the rest. One whose fate is
                unknown counts as failed, so it may arrive twice when sent again.
        """

    def post(self, messages: Sequence[Message], *, timeout: float = 5.0) -> None:
        """Like ``publish``, but may return before the broker has confirmed. Default: ``publish``.

        What turns out not to have been taken is in ``failed`` of the error that a later call raises."""
        self.publish(messages, timeout=timeout)

    def flush(self, *, timeout: float = 5.0) -> None:  # noqa: B027
        """Wait until all that was posted is confirmed; raises as ``publish`` does. Default: nothing waits."""

    @property
    def waiting(self) -> bool:
        """Whether something was posted that is not known to be taken. Cheap. Default: False."""
        return False

    @abstractmethod
    def consumer(self, queues: Sequence[Queue], *, prefetch: int = 0, name: str = "", identity: str = "") -> Consumer:
        """Begin to read from these queues, which are declared. ``prefetch`` is the most that the broker should send
        ahead; 0 leaves it to the plugin. ``name`` says who reads, for people who look into the broker. ``identity`` is
        that of a consumer whose connection was lost, to go on with what it holds; an unknown one begins anew."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection and its consumers. Never raises; a second call does nothing."""
