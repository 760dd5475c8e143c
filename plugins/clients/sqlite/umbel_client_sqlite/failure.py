"""What SQLite's errors mean, for a person who has to do something about it."""

from __future__ import annotations

import sqlite3

from umbel_kernel.errors import ConfigurationError, OperationalError, UmbelError

_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
_MEANING = {
    sqlite3.SQLITE_BUSY: "it stayed locked by another process; look for one that holds a transaction open, such as a "
    "shell or a backup",
    sqlite3.SQLITE_LOCKED: "it stayed locked by another connection of this process",
    sqlite3.SQLITE_FULL: "the disk or the quota is full; free some space, nothing that it took before is lost",
    sqlite3.SQLITE_READONLY: "it may only be read; give this user the right to write the file and its directory",
    sqlite3.SQLITE_PERM: "access is denied; give this user the right to read and write the file and its directory",
    sqlite3.SQLITE_AUTH: "access is denied; give this user the right to read and write the file and its directory",
    sqlite3.SQLITE_CANTOPEN: "it cannot be opened; see that its directory exists and that this user may read and "
    "write the file and make files beside it",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write; see the system's log",
    sqlite3.SQLITE_TOOBIG: "a value is larger than SQLite stores (1,000,000,000 bytes)",
}
_NOT_OURS = {
    sqlite3.SQLITE_NOTADB: "it is not an SQLite database; name another file, or move this one away",
    sqlite3.SQLITE_CORRUPT: "it is damaged; move it away with its -wal and -shm files, and try "
    "`sqlite3 FILE .recover` on the copy",
}


def is_busy(error: sqlite3.Error) -> bool:
    """Whether somebody else holds a lock, so that trying again helps."""
    return (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF in _BUSY


def translated(error: sqlite3.Error, path: str, doing: str, refusal: type[UmbelError] = OperationalError) -> UmbelError:
    """The error of the kernel's tree that says the same, with the path and what to do.

    Args:
        doing: what was being done, such as ``publish to``.
        refusal: what a value is answered with that is too large, now and ever.
    """
    code = (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF
    if code in _NOT_OURS:
        return ConfigurationError(f"cannot {doing} the SQLite file {path}: {_NOT_OURS[code]} ({error})")
    meaning = _MEANING.get(code, "SQLite refused")
    kind = refusal if code == sqlite3.SQLITE_TOOBIG else OperationalError
    return kind(f"cannot {doing} the SQLite file {path}: {meaning} ({error})")
