"""Waiting for results: who waits leaves an address at the task ids, and who stores rings there."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Sequence

from umbel_client_sqlite import Doorbell
from umbel_kernel.spi.backend import READY_STATES, Record

ANY = ""
"""The task id under which one waits who waits for many: any result rings."""
MANY = 32
"""The most task ids that a waiter registers one by one."""
READY = ", ".join(f"'{state}'" for state in sorted(READY_STATES))


def register(sqlite: sqlite3.Connection, task_ids: Sequence[str], address: str) -> None:
    """Within a transaction: ring here when one of these is stored in a ready state."""
    ids = task_ids if len(task_ids) <= MANY else (ANY,)
    sqlite.executemany("INSERT OR IGNORE INTO umbel_backend_waiter VALUES (?, ?)", [(id, address) for id in ids])


def unregister(sqlite: sqlite3.Connection, address: str) -> None:
    """Within a transaction: ring here no more."""
    sqlite.execute("DELETE FROM umbel_backend_waiter WHERE address = ?", (address,))


def to_ring(sqlite: sqlite3.Connection, records: Sequence[Record]) -> list[str]:
    """Within the transaction that stores: the addresses of those who wait for one of these.

    The rows of single ids go, so that a waiter that got what it waited for need not write again.
    """
    if not sqlite.execute("SELECT EXISTS (SELECT 1 FROM umbel_backend_waiter)").fetchone()[0]:
        return []
    ready = [record.task_id for record in records if record.state in READY_STATES]
    if not ready:
        return []
    rows = sqlite.execute("SELECT address FROM umbel_backend_waiter WHERE task_id = ?", (ANY,)).fetchall()
    rows += sqlite.execute(
        "DELETE FROM umbel_backend_waiter WHERE task_id IN (SELECT value FROM json_each(?)) RETURNING address",
        (json.dumps(ready),),
    ).fetchall()
    return list(dict.fromkeys(row[0] for row in rows))


class Doorbells:
    """Doorbells kept for the next waiter, since making one costs more than a wait."""

    def __init__(self) -> None:
        self._free: list[Doorbell] = []
        self._used: set[Doorbell] = set()
        self._guard = threading.Lock()

    def take(self) -> Doorbell:
        with self._guard:
            bell = self._free.pop() if self._free else Doorbell()
            self._used.add(bell)
        # What rang late for the waiter before must not stay for this one.
        bell.wait(0.0)
        bell.was_woken()
        return bell

    def give(self, bell: Doorbell) -> None:
        with self._guard:
            self._used.discard(bell)
            self._free.append(bell)

    def wake(self) -> None:
        """Let every waiter look whether the backend was closed."""
        with self._guard:
            for bell in self._used:
                bell.wake()

    def close(self) -> None:
        self.wake()
        with self._guard:
            for bell in self._free:
                bell.close()
            self._free.clear()
