"""The tables of one user of a file, and the check that the file holds the version of them that this one reads."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from umbel_kernel.errors import ConfigurationError


@dataclass(frozen=True)
class Schema:
    """Tables whose names begin with a prefix of their own, so that several users share a file.

    Attributes:
        prefix: such as ``umbel_broker``; the table ``<prefix>_meta`` (name, value) is made of itself and keeps the
            version.
        version: of the tables.
        statements: make the tables, and pass over those that are there.
        holds: for messages, what the tables are, such as ``a broker``.
        reader: for messages, the distribution that reads them.
        advice: for messages, what to do with another version.
    """

    prefix: str
    version: int
    statements: tuple[str, ...]
    holds: str
    reader: str
    advice: str

    def is_in(self, connection: sqlite3.Connection, path: str) -> bool:
        """Whether the file has the tables.

        Raises:
            ConfigurationError: they are of another version.
            sqlite3.Error: the file cannot be read.
        """
        version = self._version_in(connection)
        if version is None:
            return False
        if version != self.version:
            raise ConfigurationError(
                f"the SQLite file {path} holds {self.holds} of version {version}, and this {self.reader} reads version "
                f"{self.version}; {self.advice}, or name another file"
            )
        return True

    def _version_in(self, connection: sqlite3.Connection) -> int | None:
        meta = f"{self.prefix}_meta"
        if connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (meta,)).fetchone() is None:
            return None
        row = connection.execute(f"SELECT value FROM {meta} WHERE name = 'version'").fetchone()
        return int(row[0]) if row else None

    def create(self, connection: sqlite3.Connection) -> None:
        """Make the tables; within a transaction of the caller's."""
        meta = f"{self.prefix}_meta"
        connection.execute(f"CREATE TABLE IF NOT EXISTS {meta} (name TEXT PRIMARY KEY, value) WITHOUT ROWID")
        for statement in self.statements:
            connection.execute(statement)
        connection.execute(f"INSERT OR IGNORE INTO {meta} VALUES ('version', ?)", (self.version,))
