"""Putting messages into the database, and ringing whom they are for."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence

from umbel_broker_sqlite import topology
from umbel_broker_sqlite.template import Templates
from umbel_broker_sqlite.topology import Target
from umbel_client_sqlite import Connection, Ringer
from umbel_kernel.clock import Clock
from umbel_kernel.errors import ConfigurationError, EncodeError, OperationalError, PublishError
from umbel_kernel.spi.message import Message

_ROUTES = 4096
"""The most routes that are remembered."""

# A new id is above all ids of messages and of claims; both subqueries read one end of one tree.
_TOP = (
    "max(ifnull((SELECT max(id) FROM umbel_broker_message), 0), ifnull((SELECT max(last) FROM umbel_broker_claim), 0))"
)
_VERSION = "(SELECT value FROM umbel_broker_meta WHERE name = 'topology')"
_HEAD = f"SELECT {_VERSION}, {_TOP}"
_COLUMNS = "umbel_broker_message (id, queue, urgency, deliveries, expires, due, envelope, body)"
_MANY = f"INSERT INTO {_COLUMNS} VALUES (?, ?, ?, 0, ?, ?, ?, ?)"
_ONE = (
    f"INSERT INTO {_COLUMNS} SELECT {_TOP} + 1, ?, ?, 0, ?, ?, ?, ? WHERE {_VERSION} = ? "
    "RETURNING (SELECT group_concat(queue || ' ' || address, char(10)) FROM umbel_broker_waiter)"
)
_WAITERS = "SELECT queue, address FROM umbel_broker_waiter"


class Publisher:
    """Writes each batch in one transaction: all of it is there, or nothing."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._ringer = Ringer()
        self._templates = Templates()
        self._routes: dict[tuple[str, str], tuple[Target, ...]] = {}
        self._version = -1
        self._turn = 0

    def publish(self, messages: Sequence[Message], deadline: float) -> None:
        """Write a batch.

        Raises:
            PublishError: it was not taken, and nothing of it was.
        """
        try:
            envelopes = [self._templates.envelope(message) for message in messages]
            if len(messages) != 1 or not self._publish_one(messages[0], envelopes[0], deadline):
                self._publish_many(messages, envelopes, deadline)
        except (EncodeError, OperationalError, ConfigurationError) as error:
            raise PublishError(str(error), failed=messages) from error

    def _publish_one(self, message: Message, envelope: str, deadline: float) -> bool:
        """One message to one known queue by one statement; False: it takes more than that, and nothing was done."""
        route = self._routes.get((message.exchange, message.routing_key))
        if route is None or len(route) != 1:
            return False
        target = route[0]
        urgency, expires, due = self._times(message, target, self._clock.time())
        row = (target.id, urgency, expires, due, envelope, message.body, self._version)
        found = self._connection.execute_one(_ONE, row, deadline, "publish to")
        if not found:
            return False
        if found[0][0] is not None:
            waiters = [line.split(" ", 1) for line in found[0][0].split("\n")]
            self._ring([(int(queue), address) for queue, address in waiters], Counter({target.id: 1}))
        return True

    def _publish_many(self, messages: Sequence[Message], envelopes: list[str], deadline: float) -> None:
        try:
            with self._connection.transaction(deadline, "publish to") as sqlite:
                counts = self._write(sqlite, messages, envelopes)
                waiters = sqlite.execute(_WAITERS).fetchall()
        except BaseException:
            self._version = -1
            self._routes.clear()
            raise
        if waiters:
            self._ring(waiters, counts)

    def _write(self, sqlite: sqlite3.Connection, messages: Sequence[Message], envelopes: list[str]) -> Counter[int]:
        version, id = sqlite.execute(_HEAD).fetchone()
        if version != self._version:
            self._routes.clear()
            self._version = version
        routes = self._routes
        written = []
        counts: Counter[int] = Counter()
        now = self._clock.time()
        for message, envelope in zip(messages, envelopes, strict=True):
            route = routes.get((message.exchange, message.routing_key))
            if route is None:
                route = self._route(sqlite, message, now)
            for target in route:
                id += 1
                counts[target.id] += 1
                urgency, expires, due = self._times(message, target, now)
                written.append((id, target.id, urgency, expires, due, envelope, message.body))
        sqlite.executemany(_MANY, written)
        return counts

    @staticmethod
    def _times(message: Message, target: Target, now: float) -> tuple[int, float | None, float | None]:
        """The urgency (the most urgent is the least), and the moments of expiry and of being due."""
        priority = message.priority
        urgency = -max(0, min(priority, target.max_priority)) if priority else 0
        expiration = message.expiration
        if target.message_ttl is not None and (expiration is None or target.message_ttl < expiration):
            expiration = target.message_ttl
        expires = None if expiration is None else now + expiration
        delay = message.delay
        return urgency, expires, now + delay if delay is not None and delay > 0 else None

    def _route(self, sqlite: sqlite3.Connection, message: Message, now: float) -> tuple[Target, ...]:
        if len(self._routes) >= _ROUTES:
            self._routes.clear()
        found = topology.targets(sqlite, message, now)
        self._routes[(message.exchange, message.routing_key)] = found
        # Routing may have made a queue; nobody else can have changed anything within this transaction.
        self._version = topology.version(sqlite)
        return found

    def _ring(self, waiters: list[tuple[int, str]], counts: Counter[int]) -> None:
        """Ring as many of a queue's waiters as it got messages, in turns; a reader that leaves some behind rings the
        next. All are not rung, or an idle herd would run for each message."""
        of: dict[int, list[str]] = {}
        for queue, address in waiters:
            if queue in counts:
                of.setdefault(queue, []).append(address)
        self._turn += 1
        rung: set[str] = set()
        for queue, addresses in of.items():
            left = counts[queue]
            for at in range(len(addresses)):
                if not left:
                    break
                address = addresses[(self._turn + at) % len(addresses)]
                # One that does not answer is dead, so the next is rung in its stead.
                if address in rung or self._ringer.ring(address):
                    rung.add(address)
                    left -= 1

    def close(self) -> None:
        self._ringer.close()
