"""Putting messages into the database, and ringing whom they are for."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Sequence

from umbel_broker_sqlite import topology
from umbel_broker_sqlite.connection import Connection
from umbel_broker_sqlite.doorbell import Ringer
from umbel_broker_sqlite.envelope import encode
from umbel_broker_sqlite.failure import translated
from umbel_broker_sqlite.topology import Target
from umbel_kernel.clock import Clock
from umbel_kernel.errors import EncodeError, PublishError, UmbelError
from umbel_kernel.spi.message import Message

_ROUTES = 4096
"""The most routes that are remembered."""

# A new id is above all ids of messages and of claims; both subqueries read one end of one tree.
_HEAD = (
    "SELECT (SELECT value FROM umbel_broker_meta WHERE name = 'topology'), "
    "max(ifnull((SELECT max(id) FROM umbel_broker_message), 0), ifnull((SELECT max(last) FROM umbel_broker_claim), 0))"
)
_MESSAGE = (
    "INSERT INTO umbel_broker_message (id, queue, urgency, deliveries, expires, envelope, body) "
    "VALUES (?, ?, ?, 0, ?, ?, ?)"
)
_READY = "INSERT INTO umbel_broker_ready (queue, urgency, id) VALUES (?, ?, ?)"
_LATER = "INSERT INTO umbel_broker_later (due, id, queue) VALUES (?, ?, ?)"
_WAITERS = "SELECT queue, address FROM umbel_broker_waiter"


class Publisher:
    """Writes each batch in one transaction: all of it is there, or nothing."""

    def __init__(self, connection: Connection, clock: Clock) -> None:
        self._connection = connection
        self._clock = clock
        self._ringer = Ringer()
        self._routes: dict[tuple[str, str], tuple[Target, ...]] = {}
        self._version = -1
        self._turn = 0

    def publish(self, messages: Sequence[Message], deadline: float) -> None:
        """Write a batch.

        Raises:
            PublishError: it was not taken, and nothing of it was.
        """
        try:
            envelopes = [encode(message) for message in messages]
        except EncodeError as error:
            raise PublishError(str(error), failed=messages) from error
        path = self._connection.path
        try:
            sqlite = self._connection.begin(deadline, "publish to")
        except UmbelError as error:
            raise PublishError(str(error), failed=messages) from error
        try:
            waiters = self._write(sqlite, messages, envelopes)
            self._connection.commit()
        except sqlite3.Error as error:
            self._forget_routes()
            self._connection.rollback()
            raise PublishError(str(translated(error, path, "publish to")), failed=messages) from error
        except BaseException:
            self._forget_routes()
            self._connection.rollback()
            raise
        for address in waiters:
            self._ringer.ring(address)

    def _write(self, sqlite: sqlite3.Connection, messages: Sequence[Message], envelopes: list[str]) -> list[str]:
        version, id = sqlite.execute(_HEAD).fetchone()
        if version != self._version:
            self._routes.clear()
            self._version = version
        routes = self._routes
        written, ready, later = [], [], []
        now = self._clock.time()
        for message, envelope in zip(messages, envelopes, strict=True):
            route = routes.get((message.exchange, message.routing_key))
            if route is None:
                route = self._route(sqlite, message, now)
            for target in route:
                id += 1
                priority = message.priority
                urgency = -max(0, min(priority, target.max_priority)) if priority else 0
                expiration = message.expiration
                if target.message_ttl is not None and (expiration is None or target.message_ttl < expiration):
                    expiration = target.message_ttl
                expires = None if expiration is None else now + expiration
                written.append((id, target.id, urgency, expires, envelope, message.body))
                if message.delay is not None and message.delay > 0:
                    later.append((now + message.delay, id, target.id))
                else:
                    ready.append((target.id, urgency, id))
        if len(written) == 1:
            sqlite.execute(_MESSAGE, written[0])
        else:
            sqlite.executemany(_MESSAGE, written)
        if ready:
            sqlite.executemany(_READY, ready)
        if later:
            sqlite.executemany(_LATER, later)
        waiters = sqlite.execute(_WAITERS).fetchall()
        if not waiters:
            return []
        return self._chosen(waiters, Counter(row[0] for row in ready), {row[2] for row in later})

    def _route(self, sqlite: sqlite3.Connection, message: Message, now: float) -> tuple[Target, ...]:
        if len(self._routes) >= _ROUTES:
            self._routes.clear()
        found = topology.targets(sqlite, message, now)
        self._routes[(message.exchange, message.routing_key)] = found
        # Routing may have made a queue; nobody else can have changed anything within this transaction.
        self._version = topology.version(sqlite)
        return found

    def _forget_routes(self) -> None:
        self._version = -1

    def _chosen(self, waiters: list[tuple[int, str]], ready: Counter[int], later: set[int]) -> list[str]:
        """Whom to ring: as many of a queue's waiters as it got messages, in turns; a reader that leaves some behind
        rings the next. All are not rung, or an idle herd would run for each message."""
        of: dict[int, list[str]] = {}
        for queue, address in waiters:
            if queue in ready or queue in later:
                of.setdefault(queue, []).append(address)
        self._turn += 1
        chosen: dict[str, None] = {}
        for queue, addresses in of.items():
            count = min(len(addresses), max(1, ready[queue]))
            for at in range(count):
                chosen[addresses[(self._turn + at) % len(addresses)]] = None
        return list(chosen)

    def close(self) -> None:
        self._ringer.close()


def deadline_in(timeout: float) -> float:
    """The moment of ``time.monotonic`` that is so many seconds away."""
    return time.monotonic() + timeout
