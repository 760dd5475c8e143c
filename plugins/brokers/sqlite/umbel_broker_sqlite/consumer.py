"""Taking messages out of the database, and settling them."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence

from umbel_broker_sqlite import member, topology
from umbel_broker_sqlite.envelope import decode
from umbel_broker_sqlite.front import Row, fall_due, front
from umbel_broker_sqlite.presence import Presence
from umbel_broker_sqlite.sweep import sweep
from umbel_client_sqlite import Connection, Doorbell, Ringer
from umbel_kernel.clock import Clock
from umbel_kernel.errors import ChannelError, OperationalError, UmbelError
from umbel_kernel.spi.broker import Consumer, Delay, delays
from umbel_kernel.spi.message import Delivery
from umbel_kernel.spi.topology import Queue

logger = logging.getLogger(__name__)

_PATIENCE = 10.0
"""Seconds that reading and settling wait for others to let them write."""
_STATE = (
    "SELECT (SELECT value FROM umbel_broker_meta WHERE name = 'topology'), "
    "EXISTS (SELECT 1 FROM umbel_broker_member WHERE id = ?), (SELECT min(due) FROM umbel_broker_later)"
)
_CLAIM = "INSERT INTO umbel_broker_claim (last, member, number, ids) VALUES (?, ?, ?, ?)"
_UNCLAIM = "DELETE FROM umbel_broker_claim WHERE last = ? AND member = ? AND number = ?"
_NEXT = (
    "SELECT address FROM umbel_broker_waiter w WHERE member <> ? "
    "AND EXISTS (SELECT 1 FROM umbel_broker_ready r WHERE r.queue = w.queue) LIMIT 1"
)


class _Batch:
    """What one claim took.

    Attributes:
        key: its row in ``umbel_broker_claim``.
        left: the messages of it that are not settled.
    """

    __slots__ = ("key", "left")

    def __init__(self, key: tuple[int, int, int], left: set[int]) -> None:
        self.key = key
        self.left = left


class SqliteConsumer(Consumer):
    """One reader with a connection, a doorbell and a member row of its own.

    A claim takes the narrow rows of ``ready`` away and names the whole batch in one row of ``claim``, in one
    transaction: there is no moment in which a message is neither waiting nor held. An ack deletes the messages, and
    first looks whether this member still has its row; if not, its messages went to somebody else, and nothing is
    done.
    """

    def __init__(
        self,
        connection: Connection,
        presence: Presence,
        queues: Sequence[Queue],
        *,
        name: str,
        owner: int | None,
        lease: float,
        poll_interval: float,
        sweep_interval: float,
        clock: Clock,
        on_close: Callable[[SqliteConsumer], None],
    ) -> None:
        self._connection = connection
        self._presence = presence
        self._names = [queue.name for queue in queues]
        self._name = name
        self._owner = owner
        self._lease = lease
        self._poll_interval = poll_interval
        self._sweep_interval = sweep_interval
        self._clock = clock
        self._on_close = on_close
        self._doorbell = Doorbell()
        self._ringer = Ringer()
        self._guard = threading.Lock()
        self._closed = False
        self._member = 0
        self._queues: dict[int, str] = {}
        self._topology = -1
        self._held: dict[int, tuple[Delivery, _Batch]] = {}
        self._number = 0
        self._registered = False
        self._seen: tuple[int, int] | None = None
        self._next_due: float | None = None
        self._next_sweep = 0.0
        self._next_beat = 0.0
        self._lost = False
        try:
            with connection.transaction(self._deadline(), "read from") as sqlite:
                self._join(sqlite)
        except BaseException:
            self._doorbell.close()
            raise

    # Being a member

    def _deadline(self) -> float:
        return time.monotonic() + _PATIENCE

    def _join(self, sqlite: sqlite3.Connection) -> None:
        """Become a member, for the first time or because the lease ran out and the messages went to others."""
        self._lose()
        self._registered = False
        if self._member:
            self._presence.release(self._member)
        now = self._clock.monotonic()
        self._member = member.join(sqlite, self._presence, self._name, self._lease, now)
        self._next_beat = now + self._lease / 3
        self._subscribe(sqlite)

    def _subscribe(self, sqlite: sqlite3.Connection) -> None:
        """Look up the queues; one that was deleted is read again when it is declared again."""
        self._topology = topology.version(sqlite)
        ids = topology.ids_of(sqlite, self._names)
        for name, id in ids.items():
            exclusive, owner = sqlite.execute(
                "SELECT exclusive, owner FROM umbel_broker_queue WHERE id = ?", (id,)
            ).fetchone()
            if exclusive and owner is not None and owner != self._owner:
                raise ChannelError(f"the queue {name!r} is exclusive to another connection; read it from that one")
            sqlite.execute("INSERT OR IGNORE INTO umbel_broker_subscription VALUES (?, ?)", (id, self._member))
        # In the order in which they were asked for, which decides among messages alike in priority and age.
        self._queues = {id: name for name, id in ids.items()}
        if self._registered:
            self._register(sqlite)

    def _beat(self) -> None:
        now = self._clock.monotonic()
        with self._connection.transaction(self._deadline(), "extend the lease in") as sqlite:
            statement = "UPDATE umbel_broker_member SET beat = ? WHERE id = ?"
            if not sqlite.execute(statement, (now, self._member)).rowcount and self._held:
                self._lost = True
        self._next_beat = now + self._lease / 3

    def _lose(self) -> None:
        """Others have what was held here."""
        self._lost = self._lost or bool(self._held)
        self._held.clear()

    @property
    def in_doubt(self) -> bool:
        overdue = self._clock.monotonic() - self._next_beat > self._lease * 2 / 3
        return self._lost or (overdue and bool(self._held))

    def missing(self, deliveries: Sequence[Delivery]) -> Sequence[Delivery]:
        self._beat()
        if self._lost:
            with self._connection.reading("look for what is held in") as sqlite:
                if not self._still_member(sqlite):
                    self._lapsed()
                    self._held.clear()
            self._lost = False
        held = self._held
        return [each for each in deliveries if each.tag not in held or held[each.tag][0] is not each]

    @property
    def lease(self) -> float | None:
        return self._lease

    def extend(self, deliveries: Sequence[Delivery]) -> None:
        """Show a sign of life; it keeps everything that this consumer holds, not these alone."""
        if not self._closed:
            self._beat()

    # Receiving

    def receive(self, limit: int, timeout: float | None) -> list[Delivery]:
        if self._closed:
            raise OperationalError(f"this consumer of the SQLite file {self._connection.path} is closed")
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            self._tick()
            woken = self._doorbell.was_woken()
            wait = not woken and (end is None or time.monotonic() < end)
            if limit > 0:
                if self._may_have_come(wait):
                    found = self._claim(limit, wait)
                    if found:
                        return found
            elif self._registered and wait:
                self._unregister()
            if not wait:
                return []
            pause = self._poll_interval
            if self._next_due is not None and limit > 0:
                pause = min(pause, self._next_due - self._clock.time())
            if end is not None:
                pause = min(pause, end - time.monotonic())
            self._doorbell.wait(pause)

    def _tick(self) -> None:
        now = self._clock.monotonic()
        if now >= self._next_beat:
            self._beat()
        if now >= self._next_sweep:
            self._next_sweep = now + self._sweep_interval
            if sweep(self._connection, self._presence, self._clock, self._ringer, self._deadline()):
                # What this connection wrote itself does not change its data version.
                self._seen = None

    def _may_have_come(self, wait: bool) -> bool:
        """False when nobody wrote since nothing was found, and nothing has to be written before a wait."""
        if self._seen is None or (wait and not self._registered):
            return True
        if self._next_due is not None and self._clock.time() >= self._next_due:
            return True
        return bool(self._connection.data_version() != self._seen)

    def _claim(self, limit: int, wait: bool) -> list[Delivery]:
        doing = "receive from"
        sqlite = self._connection.begin(self._deadline(), doing)
        try:
            found, following = self._take(sqlite, limit, wait)
            self._connection.commit()
        except sqlite3.Error as error:
            self._connection.rollback()
            self._fail()
            raise self._connection.translated(error, doing) from error
        except BaseException:
            self._connection.rollback()
            self._fail()
            raise
        if following is not None:
            self._ringer.ring(following)
        if not found:
            return []
        batch = _Batch((max(row[1] for _, row in found), self._member, self._number), {row[1] for _, row in found})
        held = self._held
        out = []
        for queue, (_, id, deliveries, _, envelope, body) in found:
            exchange, key, content_type, encoding, headers, correlation_id, reply_to, priority, more = decode(envelope)
            delivery = Delivery(
                body,
                queue,
                id,
                key,
                exchange,
                content_type,
                encoding,
                headers,
                correlation_id,
                reply_to,
                priority,
                deliveries > 0,
                deliveries,
                more,
            )
            held[id] = (delivery, batch)
            out.append(delivery)
        return out

    def _fail(self) -> None:
        # What was noted of a transaction that did not happen: ask again for all of it.
        self._topology = -1
        self._seen = None
        self._registered = False

    def _take(self, sqlite: sqlite3.Connection, limit: int, wait: bool) -> tuple[list[tuple[str, Row]], str | None]:
        version, present, due = sqlite.execute(_STATE, (self._member,)).fetchone()
        if not present:
            self._lapsed()
            self._join(sqlite)
        elif version != self._topology:
            self._subscribe(sqlite)
        now = self._clock.time()
        if due is not None and due <= now:
            due = fall_due(sqlite, now)
        self._next_due = due
        found: list[tuple[str, Row]] = []
        while len(found) < limit:
            wanted = limit - len(found)
            rows = front(sqlite, self._queues, wanted)
            over = [(row[1],) for _, row in rows if row[3] is not None and row[3] < now]
            if over:
                sqlite.executemany("DELETE FROM umbel_broker_message WHERE id = ?", over)
                found += [item for item in rows if item[1][3] is None or item[1][3] >= now]
            else:
                found += rows
            if len(rows) < wanted or not over:
                break
        if not found:
            if wait and not self._registered:
                self._register(sqlite)
            self._seen = self._connection.data_version()
            return [], None
        self._seen = None
        if self._registered:
            sqlite.execute("DELETE FROM umbel_broker_waiter WHERE member = ?", (self._member,))
            self._registered = False
        ids = [row[1] for _, row in found]
        self._number += 1
        sqlite.execute(_CLAIM, (max(ids), self._member, self._number, ",".join(map(str, ids))))
        following = None
        if len(found) == limit:
            next_one = sqlite.execute(_NEXT, (self._member,)).fetchone()
            following = next_one[0] if next_one else None
        return found, following

    def _register(self, sqlite: sqlite3.Connection) -> None:
        sqlite.executemany(
            "INSERT OR REPLACE INTO umbel_broker_waiter VALUES (?, ?, ?)",
            [(queue, self._member, self._doorbell.address) for queue in self._queues],
        )
        self._registered = True

    def _unregister(self) -> None:
        """Do not let others ring here while nothing may be taken."""
        with self._connection.transaction(self._deadline(), "receive from") as sqlite:
            sqlite.execute("DELETE FROM umbel_broker_waiter WHERE member = ?", (self._member,))
        self._registered = False

    def _lapsed(self) -> None:
        if self._held:
            logger.warning(
                "%s showed no sign of life for its lease of %s s, so %d messages that it held went to other consumers",
                self._name or "a consumer",
                self._lease,
                len(self._held),
            )

    # Settling

    def _mine(self, deliveries: Sequence[Delivery]) -> list[int]:
        held = self._held
        mine: dict[int, None] = {}
        for delivery in deliveries:
            known = held.get(delivery.tag) if type(delivery.tag) is int else None
            if known is not None and known[0] is delivery:
                mine[delivery.tag] = None
        return list(mine)

    def _still_member(self, sqlite: sqlite3.Connection) -> bool:
        statement = "SELECT 1 FROM umbel_broker_member WHERE id = ?"
        return sqlite.execute(statement, (self._member,)).fetchone() is not None

    def _settled(self, sqlite: sqlite3.Connection, ids: Sequence[int], requeued: bool) -> None:
        """Note in the claims that these are done; an acknowledged one may stay named, since its message is gone."""
        batches: dict[_Batch, list[int]] = {}
        for id in ids:
            batch = self._held[id][1]
            done = batches.get(batch)
            if done is None:
                batches[batch] = [id]
            else:
                done.append(id)
        for batch, done in batches.items():
            if len(done) == len(batch.left):
                sqlite.execute(_UNCLAIM, batch.key)
            elif requeued:
                sqlite.execute(
                    "UPDATE umbel_broker_claim SET ids = ? WHERE last = ? AND member = ? AND number = ?",
                    (",".join(map(str, sorted(batch.left.difference(done)))), *batch.key),
                )

    def _let_go(self, ids: Sequence[int]) -> None:
        for id in ids:
            self._held.pop(id)[1].left.discard(id)

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        ids = self._mine(deliveries)
        if not ids:
            return
        with self._connection.transaction(self._deadline(), "acknowledge in") as sqlite:
            if not self._still_member(sqlite):
                self._lapsed()
                self._lose()
                return
            self._delete(sqlite, ids)
            self._settled(sqlite, ids, requeued=False)
        self._let_go(ids)

    @staticmethod
    def _delete(sqlite: sqlite3.Connection, ids: list[int]) -> None:
        first, last = min(ids), max(ids)
        if last - first + 1 == len(ids):
            # No gaps: all between are this consumer's, so one range says it.
            sqlite.execute("DELETE FROM umbel_broker_message WHERE id BETWEEN ? AND ?", (first, last))
        else:
            ids.sort()
            sqlite.executemany("DELETE FROM umbel_broker_message WHERE id = ?", [(id,) for id in ids])

    def reject(self, deliveries: Sequence[Delivery], *, requeue: bool, delay: Delay = None) -> None:
        if not requeue:
            self.ack(deliveries)
            return
        ids = self._mine(deliveries)
        if not ids:
            return
        now = self._clock.time()
        seconds = {each.tag: wait for each, wait in zip(deliveries, delays(len(deliveries), delay), strict=True)}
        with self._connection.transaction(self._deadline(), "reject in") as sqlite:
            if not self._still_member(sqlite):
                self._lapsed()
                self._lose()
                return
            for id in sorted(ids):
                member.give_back(sqlite, (id,), now + seconds[id] if seconds[id] > 0 else None)
            self._settled(sqlite, ids, requeued=True)
            waiters = member.waiters_of(sqlite, self._queues)
        self._seen = None
        self._let_go(ids)
        for address in waiters:
            if address != self._doorbell.address:
                self._ringer.ring(address)

    # Ending

    def wake(self) -> None:
        self._doorbell.wake()

    def close(self) -> None:
        with self._guard:
            if self._closed:
                return
            self._closed = True
        self._doorbell.wake()
        try:
            with self._connection.transaction(time.monotonic() + 5.0, "leave") as sqlite:
                queues = member.leave(sqlite, self._member, self._clock.time())
                waiters = member.waiters_of(sqlite, queues)
            for address in waiters:
                self._ringer.ring(address)
        except UmbelError as error:
            logger.warning("what a consumer held comes back by its lock, not by its leave: %s", error)
        self._presence.release(self._member)
        self._held.clear()
        self._connection.close()
        self._doorbell.close()
        self._ringer.close()
        self._on_close(self)
