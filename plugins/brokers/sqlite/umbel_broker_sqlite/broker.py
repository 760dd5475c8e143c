"""The SQLite broker."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from umbel_broker_sqlite import member, topology
from umbel_broker_sqlite.consumer import SqliteConsumer
from umbel_broker_sqlite.presence import Presence
from umbel_broker_sqlite.publisher import Publisher
from umbel_broker_sqlite.schema import SCHEMA
from umbel_broker_sqlite.settings import SETTINGS, value_of
from umbel_broker_sqlite.sweep import sweep
from umbel_client_sqlite import Connection, Ringer, file_of
from umbel_kernel.clock import SYSTEM_CLOCK, Clock
from umbel_kernel.errors import OperationalError, PublishError, UmbelError
from umbel_kernel.setting import Setting
from umbel_kernel.spi.broker import Broker, BrokerCapability
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Exchange, Queue
from umbel_kernel.url import URL

logger = logging.getLogger(__name__)


class SqliteBroker(Broker):
    """Queues in one SQLite file that any number of processes of one host share.

    A commit outlives any crash of a process. What a killed consumer held comes back within a second (``member``
    says how its death is seen), and what one held that hangs, after its lease. A waiting consumer is rung by whoever
    publishes (``doorbell``). A call that finds the file deleted or replaced raises ``OperationalError``; the next
    ``connect`` or ``publish`` opens the file that is there then.

    Args:
        clock: for tests; times that outlive a process are of ``clock.time``, leases of ``clock.monotonic``.
    """

    capabilities: ClassVar[frozenset[BrokerCapability]] = frozenset(
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
            BrokerCapability.PERSISTENT,
            BrokerCapability.SHARED,
            BrokerCapability.SIZE,
        }
    )
    settings: ClassVar[tuple[Setting, ...]] = SETTINGS

    def __init__(self, url: URL, options: Mapping[str, Any] | None = None, *, clock: Clock = SYSTEM_CLOCK) -> None:
        super().__init__(url, options)
        self._path = file_of(url)
        self._clock = clock
        self._lease: float = value_of(self.options, "sqlite_lease")
        self._poll_interval: float = value_of(self.options, "sqlite_poll_interval")
        self._sweep_interval: float = value_of(self.options, "sqlite_sweep_interval")
        self._synchronous: str = value_of(self.options, "sqlite_synchronous")
        self._checkpoint_pages: int = value_of(self.options, "sqlite_checkpoint_pages")
        self._connection = self._new_connection()
        self._publisher = Publisher(self._connection, clock)
        self._ringer = Ringer()
        self._consumers: set[SqliteConsumer] = set()
        self._guard = threading.Lock()
        self._owner: int | None = None

    def _new_connection(self) -> Connection:
        return Connection(self._path, SCHEMA, synchronous=self._synchronous, checkpoint_pages=self._checkpoint_pages)

    def connect(self, *, timeout: float) -> None:
        self._connection.open(time.monotonic() + timeout)

    def _presence(self) -> Presence:
        try:
            return Presence.of(self._path)
        except OSError as error:
            raise OperationalError(
                f"cannot make the members file beside the SQLite file {self._path}: {error}; give this user the right "
                f"to write there"
            ) from error

    def declare(self, queues: Sequence[Queue], *, timeout: float = 5.0) -> None:
        deadline = self._connected(timeout)
        with self._connection.transaction(deadline, "declare queues in") as sqlite:
            now = self._clock.time()
            topology.delete(sqlite, member.unused(sqlite, now))
            for queue in queues:
                if queue.exclusive and self._owner is None:
                    name = f"connection of process {os.getpid()}"
                    beat = self._clock.monotonic()
                    self._owner = member.join(sqlite, self._presence(), name, None, beat)
                topology.declare(sqlite, queue, now, self._owner)

    def _connected(self, timeout: float) -> float:
        deadline = time.monotonic() + timeout
        if not self._connection.is_open:
            self._connection.open(deadline)
        return deadline

    def bind(self, queue: str, exchange: Exchange, routing_key: str = "", *, timeout: float = 5.0) -> None:
        deadline = self._connected(timeout)
        with self._connection.transaction(deadline, "bind a queue in") as sqlite:
            topology.bind(sqlite, queue, exchange, routing_key)

    def delete(self, queues: Sequence[str], *, timeout: float = 5.0) -> None:
        deadline = self._connected(timeout)
        with self._connection.transaction(deadline, "delete queues in") as sqlite:
            topology.delete(sqlite, topology.ids_of(sqlite, queues).values())

    def purge(self, queues: Sequence[str], *, timeout: float = 5.0) -> int:
        deadline = self._connected(timeout)
        with self._connection.transaction(deadline, "purge queues in") as sqlite:
            return sum(topology.purge(sqlite, id) for id in topology.ids_of(sqlite, queues).values())

    def size(self, queues: Sequence[str], *, timeout: float = 5.0) -> dict[str, int]:
        """How many messages wait in each queue, those included that are not yet due."""
        self._connected(timeout)
        sizes = dict.fromkeys(queues, 0)
        with self._connection.reading("count in") as sqlite:
            for name, id in topology.ids_of(sqlite, queues).items():
                sizes[name] = sqlite.execute(
                    "SELECT (SELECT count(*) FROM umbel_broker_ready WHERE queue = ?1) "
                    "+ (SELECT count(*) FROM umbel_broker_later WHERE queue = ?1)",
                    (id,),
                ).fetchone()[0]
        return sizes

    def publish(self, messages: Sequence[Message], *, timeout: float = 5.0) -> None:
        if not messages:
            return
        try:
            deadline = self._connected(timeout)
        except OperationalError as error:
            raise PublishError(str(error), failed=messages) from error
        self._publisher.publish(messages, deadline)

    def consumer(
        self, queues: Sequence[Queue], *, prefetch: int = 0, name: str = "", identity: str = ""
    ) -> SqliteConsumer:
        """Begin to read. ``prefetch`` has no meaning here: nothing is sent ahead."""
        connection = self._new_connection()
        deadline = self._connected(5.0)
        connection.open(deadline)
        try:
            presence = self._presence()
            # What a worker that was killed held is there for the one that takes its place, without a wait.
            sweep(connection, presence, self._clock, self._ringer, deadline)
            consumer = SqliteConsumer(
                connection,
                presence,
                queues,
                name=name,
                owner=self._owner,
                lease=self._lease,
                poll_interval=self._poll_interval,
                sweep_interval=self._sweep_interval,
                clock=self._clock,
                on_close=self._consumers.discard,
            )
        except BaseException:
            connection.close()
            raise
        with self._guard:
            self._consumers.add(consumer)
        return consumer

    def close(self) -> None:
        with self._guard:
            consumers = list(self._consumers)
        for consumer in consumers:
            consumer.close()
        if self._owner is not None and self._connection.is_open:
            owner, self._owner = self._owner, None
            try:
                with self._connection.transaction(time.monotonic() + 5.0, "leave") as sqlite:
                    member.leave(sqlite, owner, self._clock.time())
                self._presence().release(owner)
            except UmbelError as error:
                logger.warning("the exclusive queues of a connection were not deleted: %s", error)
        self._connection.close()
        self._publisher.close()
        self._ringer.close()
