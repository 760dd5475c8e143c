"""A worker's state file: what was revoked, for the next time that it is started."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING, Any

from umbel.model.later import Later
from umbel.results.revocations import EXPIRES, Stamps
from umbel.worker.revoked import LIMIT, Revoked
from umbel_kernel.errors import ConfigurationError

if TYPE_CHECKING:
    import sqlite3
else:
    sqlite3 = Later("sqlite3")

logger = logging.getLogger("umbel.worker.state_db")

_TABLE = "CREATE TABLE IF NOT EXISTS umbel_revoked (what TEXT PRIMARY KEY, since REAL NOT NULL) WITHOUT ROWID"
_ADD = "INSERT OR REPLACE INTO umbel_revoked VALUES (?, ?)"
_OLD = "DELETE FROM umbel_revoked WHERE since < ?"
_MANY = (
    "DELETE FROM umbel_revoked WHERE what IN "
    "(SELECT what FROM umbel_revoked ORDER BY since DESC, what LIMIT -1 OFFSET ?)"
)
_PATIENCE = 5.0


class StateDB:
    """Keeps revokes in an SQLite file, each before it is acknowledged, so that no kill loses one.

    Opened for each use, which is seldom. Times are of the wall clock. ``keep`` may be called in any thread.

    Args:
        path: of the file; several workers may share one.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = threading.Lock()

    def load(self, revoked: Revoked) -> None:
        """Add to ``revoked`` what the file has, and have it keep here what comes.

        Raises:
            ConfigurationError: the file cannot be used.
        """
        now = time.time()
        try:
            with self._lock, closing(self._open()) as sqlite, sqlite:
                sqlite.execute(_TABLE)
                sqlite.execute(_OLD, (now - EXPIRES,))
                rows = sqlite.execute("SELECT what, since FROM umbel_revoked ORDER BY since").fetchall()
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"the state file {self.path!r} (--statedb, worker_state_db) cannot be used: {error}; "
                "name another one, since one of Celery's cannot be read"
            ) from error
        for what, since in rows:
            found = json.loads(what)
            age = max(now - since, 1e-6)
            if isinstance(found, str):
                revoked.add([found], age=age)
            else:
                revoked.add_stamps({found[0]: [found[1]]}, age=age)
        revoked.keeper = self

    def keep(self, task_ids: Iterable[str], stamps: Stamps) -> None:
        """Keep these. What cannot be written is told, and holds as long as this worker lives."""
        now = time.time()
        whats: list[Any] = [*task_ids, *([name, value] for name, values in stamps.items() for value in values)]
        rows = [(json.dumps(what, default=str), now) for what in whats]
        try:
            with self._lock, closing(self._open()) as sqlite, sqlite:
                sqlite.executemany(_ADD, rows)
                sqlite.execute(_OLD, (now - EXPIRES,))
                sqlite.execute(_MANY, (LIMIT,))
        except sqlite3.Error as error:
            logger.error("%d revokes cannot be kept in the state file %r: %s", len(rows), self.path, error)

    def _open(self) -> sqlite3.Connection:
        return sqlite3.connect(self.path, timeout=_PATIENCE)
