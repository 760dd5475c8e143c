"""What the broker suites share: fixtures, and ways to take messages."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeAlias

import pytest

from umbel_kernel.spi.broker import Broker, BrokerCapability, Consumer
from umbel_kernel.spi.message import Delivery, Message
from umbel_kernel.spi.topology import Queue
from umbel_testkit.taking import take

MakeBroker: TypeAlias = Callable[..., Broker]
NewQueue: TypeAlias = Callable[..., Queue]


class BrokerCase:
    """Fixtures and settings of the broker suites.

    Attributes:
        patience: the most seconds to wait for what must happen.
        quiet: seconds to watch that something does not happen.
        urgent_priority: the priority that comes first.
        idle_priority: the priority that comes last.
        short_lease_options: for a broker with ``LEASE``, the options under which ``lease`` is about a second;
            ``make_broker`` is called with them as keyword arguments.
        counts_what_waits: for a broker with ``PARK``, whether ``size`` and ``purge`` mean also what waits for its time.
        counted_queue: for a broker with ``DELIVERY_COUNT``, what a queue that counts needs, as arguments of ``Queue``.
    """

    patience: ClassVar[float] = 10.0
    quiet: ClassVar[float] = 0.3
    urgent_priority: ClassVar[int] = 9
    idle_priority: ClassVar[int] = 0
    short_lease_options: ClassVar[Mapping[str, Any] | None] = None
    counts_what_waits: ClassVar[bool] = True
    counted_queue: ClassVar[Mapping[str, Any]] = {}

    @pytest.fixture
    def make_broker(self) -> MakeBroker:
        """Each call makes a new, unconnected broker on one and the same server or store."""
        raise NotImplementedError("give your subclass a fixture make_broker that returns a function making a Broker")

    @pytest.fixture
    def make_unreachable(self) -> Callable[[], Broker] | None:
        """Makes a broker whose server cannot be reached and whose URL has a password; None for an embedded store."""
        return None

    @pytest.fixture
    def connect(self, make_broker: MakeBroker) -> Iterator[MakeBroker]:
        """Makes connected brokers, closed after the test."""
        made: list[Broker] = []

        def connected(**options: Any) -> Broker:
            broker = make_broker(**options)
            made.append(broker)
            broker.connect(timeout=self.patience)
            return broker

        yield connected
        for broker in made:
            broker.close()

    @pytest.fixture
    def broker(self, connect: MakeBroker) -> Broker:
        """One connected broker."""
        return connect()

    @pytest.fixture
    def new_queue(self, connect: MakeBroker) -> Iterator[NewQueue]:
        """Declares queues of unique names with the properties given, deleted after the test."""
        names: list[str] = []

        def declared(broker: Broker, **properties: Any) -> Queue:
            queue = Queue(self.unique("queue"), **properties)
            names.append(queue.name)
            broker.declare([queue])
            return queue

        yield declared
        if names:
            connect().delete(names)

    @pytest.fixture
    def queue(self, broker: Broker, new_queue: NewQueue) -> Queue:
        """One declared queue."""
        return new_queue(broker)

    @staticmethod
    def unique(what: str) -> str:
        """A name that no other test uses."""
        return f"umbel-testkit.{what}.{uuid.uuid4().hex}"

    @staticmethod
    def need(broker: Broker, capability: BrokerCapability) -> None:
        """Skip a test of something that this broker does not claim."""
        if capability not in broker.capabilities:
            pytest.skip(f"{type(broker).__name__} does not declare {capability.name}")

    @staticmethod
    def send(broker: Broker, queue: Queue, *bodies: bytes, **properties: Any) -> None:
        """Publish one message a body straight to a queue."""
        broker.publish([Message(body, queue.name, **properties) for body in bodies])

    def take(self, consumer: Consumer, count: int) -> list[Delivery]:
        """Receive exactly so many; fails when they do not come or when a receive brings more than was asked for."""
        return take(consumer, count, within=self.patience)

    def nothing(self, consumer: Consumer) -> None:
        """Check that no message comes for a while."""
        found = consumer.receive(10, self.quiet)
        assert found == [], f"{len(found)} messages came that should not have: {[d.body[:80] for d in found]}"
