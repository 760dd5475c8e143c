"""The backend's tables, and the check that a file holds this version of them.

A chord's parts are rows of their own beside a row that counts down, so a part costs the same whatever the size of the
header. That row stays after the last part, to answer those that come late.
"""

from __future__ import annotations

import sqlite3

from umbel_kernel.errors import ConfigurationError

VERSION = 1

_TABLES = (
    "CREATE TABLE IF NOT EXISTS umbel_backend_meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    """CREATE TABLE IF NOT EXISTS umbel_backend_result (
        task_id TEXT PRIMARY KEY,
        state TEXT NOT NULL,
        content_type TEXT NOT NULL,
        content_encoding TEXT NOT NULL,
        expires REAL,
        body BLOB NOT NULL
    )""",
    """CREATE INDEX IF NOT EXISTS umbel_backend_result_expires
        ON umbel_backend_result (expires) WHERE expires IS NOT NULL""",
    """CREATE TABLE IF NOT EXISTS umbel_backend_group (
        group_id TEXT PRIMARY KEY, expires REAL, body BLOB NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS umbel_backend_chord (
        group_id TEXT PRIMARY KEY, size INTEGER NOT NULL, missing INTEGER NOT NULL, expires REAL
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS umbel_backend_part (
        group_id TEXT NOT NULL, place INTEGER NOT NULL, state TEXT NOT NULL, body BLOB NOT NULL,
        PRIMARY KEY (group_id, place)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS umbel_backend_waiter (
        task_id TEXT NOT NULL, address TEXT NOT NULL, PRIMARY KEY (task_id, address)
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS umbel_backend_waiter_address ON umbel_backend_waiter (address)",
)


def version_of(connection: sqlite3.Connection) -> int | None:
    """The version of the backend's tables in a file; None when it has none.

    Raises:
        sqlite3.Error: the file cannot be read.
    """
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'umbel_backend_meta'").fetchone()
    if known is None:
        return None
    row = connection.execute("SELECT value FROM umbel_backend_meta WHERE name = 'version'").fetchone()
    return int(row[0]) if row else None


def check(version: int | None, path: str) -> bool:
    """Whether the tables are there.

    Raises:
        ConfigurationError: they are of another version.
    """
    if version is None:
        return False
    if version != VERSION:
        raise ConfigurationError(
            f"the SQLite file {path} holds results of version {version}, and this umbel-backend-sqlite reads version "
            f"{VERSION}; read them with the umbel that wrote them, or name another file"
        )
    return True


def create(connection: sqlite3.Connection) -> None:
    """Make the tables; within a transaction of the caller's."""
    for statement in _TABLES:
        connection.execute(statement)
    connection.execute("INSERT OR IGNORE INTO umbel_backend_meta VALUES ('version', ?)", (VERSION,))
