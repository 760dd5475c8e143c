"""The SQLite result backend."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from umbel_backend_sqlite import chord, waiting
from umbel_backend_sqlite.schema import SCHEMA
from umbel_backend_sqlite.settings import SETTINGS, value_of
from umbel_client_sqlite import Connection, Doorbell, Ringer, file_of
from umbel_kernel.clock import SYSTEM_CLOCK, Clock
from umbel_kernel.errors import BackendError, OperationalError
from umbel_kernel.setting import Setting
from umbel_kernel.spi.backend import Backend, BackendCapability, ChordPart, Record
from umbel_kernel.url import URL

_CLEANUP_BATCH = 1000
_COLUMNS = "task_id, state, body, content_type, content_encoding, expires"
_STORE = (
    f"INSERT INTO umbel_backend_result ({_COLUMNS}, fence) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (task_id) "
    "DO UPDATE SET state = ?2, body = ?3, content_type = ?4, content_encoding = ?5, expires = ?6, fence = ?7 "
    "WHERE ((umbel_backend_result.state <> 'SUCCESS' OR ?2 = 'SUCCESS') AND umbel_backend_result.fence <= ?7) "
    "OR umbel_backend_result.expires <= ?8"
)
_FRESH = "(expires IS NULL OR expires > ?2)"
_ONE = f"SELECT {_COLUMNS} FROM umbel_backend_result WHERE task_id = ?1 AND {_FRESH}"
_MANY = f"SELECT {_COLUMNS} FROM umbel_backend_result WHERE task_id IN (SELECT value FROM json_each(?1)) AND {_FRESH}"
_IS_READY = f" AND state IN ({waiting.READY})"


class SqliteBackend(Backend):
    """Results in one SQLite file that any number of processes of one host share, also with the SQLite broker.

    A reader that waits registers where it can be rung, in the transaction in which it sees that the result is not
    there; who stores the result rings after its commit. Between the two nothing can be missed but the ring itself,
    for which the reader looks again every ``sqlite_backend_poll_interval``.

    Args:
        clock: for tests; expiry is of ``clock.time``.
    """

    capabilities: ClassVar[frozenset[BackendCapability]] = frozenset(
        {
            BackendCapability.PUSH,
            BackendCapability.EXPIRES,
            BackendCapability.PERSISTENT,
            BackendCapability.SHARED,
            BackendCapability.GROUPS,
            BackendCapability.CHORDS,
            BackendCapability.CHORD_GROWTH,
            BackendCapability.FENCE,
        }
    )
    settings: ClassVar[tuple[Setting, ...]] = SETTINGS

    def __init__(
        self,
        url: URL,
        options: Mapping[str, Any] | None = None,
        *,
        state_of: Callable[[bytes], str],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(url, options, state_of=state_of)
        self._clock = clock
        self._poll_interval: float = value_of(self.options, "sqlite_backend_poll_interval")
        self._cleanup_interval: float = value_of(self.options, "sqlite_backend_cleanup_interval")
        self._connection = Connection(
            file_of(url),
            SCHEMA,
            synchronous=value_of(self.options, "sqlite_backend_synchronous"),
            checkpoint_pages=value_of(self.options, "sqlite_backend_checkpoint_pages"),
            refusal=BackendError,
        )
        self._ringer = Ringer()
        self._doorbells = waiting.Doorbells()
        self._writes = 0
        self._next_cleanup = 0.0
        self._closed = False

    def connect(self, *, timeout: float) -> None:
        self._closed = False
        self._connection.open(time.monotonic() + timeout)

    def _connected(self, timeout: float) -> float:
        deadline = time.monotonic() + timeout
        if not self._connection.is_open:
            self._connection.open(deadline)
        return deadline

    # Results

    def store(self, records: Sequence[Record], *, timeout: float = 5.0) -> None:
        if not records:
            return
        deadline = self._connected(timeout)
        now = self._clock.time()
        rows = [
            (
                record.task_id,
                record.state,
                record.body,
                record.content_type,
                record.content_encoding,
                None if record.expires is None else now + record.expires,
                record.fence,
                now,
            )
            for record in records
        ]
        with self._connection.transaction(deadline, "store results in") as sqlite:
            if len(rows) == 1:
                sqlite.execute(_STORE, rows[0])
            else:
                sqlite.executemany(_STORE, rows)
            addresses = waiting.to_ring(sqlite, records)
            if self._clock.monotonic() >= self._next_cleanup:
                self._next_cleanup = self._clock.monotonic() + self._cleanup_interval
                self._drop_expired(sqlite)
        self._writes += 1
        self._ring(addresses, deadline)

    def _ring(self, addresses: Sequence[str], deadline: float) -> None:
        gone = [address for address in addresses if not self._ringer.ring(address)]
        if gone:
            # Their processes ended without a word; or they cannot be rung from here, and look by themselves.
            with self._connection.transaction(deadline, "tidy up in") as sqlite:
                for address in gone:
                    waiting.unregister(sqlite, address)

    def fetch(self, task_ids: Sequence[str], *, timeout: float = 5.0) -> dict[str, Record]:
        self._connected(timeout)
        with self._connection.reading("fetch results from") as sqlite:
            return self._select(sqlite, task_ids, "")

    def _select(self, sqlite: sqlite3.Connection, task_ids: Sequence[str], condition: str) -> dict[str, Record]:
        now = self._clock.time()
        if len(task_ids) == 1:
            rows = sqlite.execute(_ONE + condition, (task_ids[0], now)).fetchall()
        else:
            rows = sqlite.execute(_MANY + condition, (json.dumps(list(task_ids)), now)).fetchall()
        found = {
            row[0]: Record(row[0], row[1], row[2], row[3], row[4], None if row[5] is None else max(0.0, row[5] - now))
            for row in rows
        }
        return {task_id: found[task_id] for task_id in task_ids if task_id in found} if len(found) > 1 else found

    def wait(self, task_ids: Sequence[str], *, timeout: float | None) -> dict[str, Record]:
        if not task_ids:
            return {}
        end = None if timeout is None else time.monotonic() + timeout
        while True:
            try:
                return self._wait(task_ids, end)
            except OperationalError:
                if self._closed or end is None or time.monotonic() >= end:
                    raise
                time.sleep(min(self._poll_interval, max(0.0, end - time.monotonic())))

    def _wait(self, task_ids: Sequence[str], end: float | None) -> dict[str, Record]:
        self._connected(5.0 if end is None else max(0.0, end - time.monotonic()))
        with self._connection.reading("fetch results from") as sqlite:
            found = self._select(sqlite, task_ids, _IS_READY)
        if found or (end is not None and time.monotonic() >= end):
            return found
        bell = self._doorbells.take()
        try:
            with self._connection.transaction(time.monotonic() + 5.0, "wait for results in") as sqlite:
                waiting.register(sqlite, task_ids, bell.address)
                found = self._select(sqlite, task_ids, _IS_READY)
                seen = (self._writes, self._connection.data_version())
            registered = True
            try:
                while not found and (end is None or time.monotonic() < end):
                    registered = not self._listen(bell, end) or len(task_ids) > 1
                    if self._closed:
                        raise OperationalError(f"the SQLite backend {self._connection.path} was closed during a wait")
                    version = (self._writes, self._connection.data_version())
                    if version != seen:
                        seen = version
                        with self._connection.reading("fetch results from") as sqlite:
                            found = self._select(sqlite, task_ids, _IS_READY)
            finally:
                if (registered or not found) and self._connection.is_open:
                    with self._connection.transaction(time.monotonic() + 5.0, "wait for results in") as sqlite:
                        waiting.unregister(sqlite, bell.address)
        finally:
            self._doorbells.give(bell)
        return found

    def _listen(self, bell: Doorbell, end: float | None) -> bool:
        """Wait for a ring, but not for long; whether there was one."""
        pause = self._poll_interval
        if end is not None:
            pause = min(pause, end - time.monotonic())
        return bell.wait(pause)

    def forget(self, task_ids: Sequence[str], *, timeout: float = 5.0) -> None:
        if not task_ids:
            return
        deadline = self._connected(timeout)
        with self._connection.transaction(deadline, "forget results in") as sqlite:
            sqlite.executemany("DELETE FROM umbel_backend_result WHERE task_id = ?", [(id,) for id in task_ids])

    # Groups and chords

    def store_group(self, group_id: str, body: bytes, *, expires: float | None, timeout: float = 5.0) -> None:
        deadline = self._connected(timeout)
        until = None if expires is None else self._clock.time() + expires
        with self._connection.transaction(deadline, "store a group in") as sqlite:
            sqlite.execute("INSERT OR REPLACE INTO umbel_backend_group VALUES (?, ?, ?)", (group_id, until, body))

    def fetch_group(self, group_id: str, *, timeout: float = 5.0) -> bytes | None:
        self._connected(timeout)
        with self._connection.reading("fetch a group from") as sqlite:
            row = sqlite.execute(
                f"SELECT body FROM umbel_backend_group WHERE group_id = ?1 AND {_FRESH}",
                (group_id, self._clock.time()),
            ).fetchone()
        return bytes(row[0]) if row is not None else None

    def forget_group(self, group_id: str, *, timeout: float = 5.0) -> None:
        deadline = self._connected(timeout)
        with self._connection.transaction(deadline, "forget a group in") as sqlite:
            sqlite.execute("DELETE FROM umbel_backend_group WHERE group_id = ?", (group_id,))

    def begin_chord(self, group_id: str, size: int, *, expires: float | None, timeout: float = 5.0) -> None:
        deadline = self._connected(timeout)
        with self._connection.transaction(deadline, "begin a chord in") as sqlite:
            chord.begin(sqlite, group_id)

    def chord_parts(self, parts: Sequence[ChordPart], *, timeout: float = 5.0) -> list[bool]:
        deadline = self._connected(timeout)
        with self._connection.transaction(deadline, "count chords in") as sqlite:
            now = self._clock.time()
            return [chord.count(sqlite, part, now) for part in parts]

    def chord_bodies(self, part: ChordPart, *, timeout: float = 5.0) -> list[bytes] | None:
        self._connected(timeout)
        with self._connection.reading("fetch a chord from") as sqlite:
            return chord.bodies(sqlite, part.group_id, part.run)

    def chord_end(self, group_id: str, run: str, *, expires: float | None, timeout: float = 5.0) -> bool:
        deadline = self._connected(timeout)
        with self._connection.transaction(deadline, "end a chord in") as sqlite:
            return chord.end(sqlite, group_id, run, expires, self._clock.time())

    def chord_add(
        self, group_id: str, size: int, member: str, *, expires: float | None, timeout: float = 5.0
    ) -> int | None:
        deadline = self._connected(timeout)
        with self._connection.transaction(deadline, "add to a chord in") as sqlite:
            return chord.add(sqlite, group_id, size, member, expires, self._clock.time())

    # Tidying up and ending

    def _drop_expired(self, sqlite: sqlite3.Connection, limit: int = _CLEANUP_BATCH) -> int:
        now = self._clock.time()
        dropped = sqlite.execute(
            "DELETE FROM umbel_backend_result WHERE rowid IN "
            "(SELECT rowid FROM umbel_backend_result WHERE expires <= ? LIMIT ?)",
            (now, limit),
        ).rowcount
        dropped += sqlite.execute("DELETE FROM umbel_backend_group WHERE expires <= ?", (now,)).rowcount
        over = sqlite.execute("SELECT group_id FROM umbel_backend_chord WHERE expires <= ?", (now,)).fetchall()
        for (group_id,) in over:
            chord.forget(sqlite, group_id)
        return int(dropped) + len(over)

    def cleanup(self, *, timeout: float = 60.0) -> int:
        """Drop what has expired, in transactions so short that nobody has to wait for them."""
        deadline = self._connected(timeout)
        total = 0
        while True:
            with self._connection.transaction(deadline, "clean up in") as sqlite:
                dropped = self._drop_expired(sqlite)
            total += dropped
            if dropped < _CLEANUP_BATCH or time.monotonic() >= deadline:
                return total

    def close(self) -> None:
        self._closed = True
        self._doorbells.close()
        self._connection.close()
        self._ringer.close()
