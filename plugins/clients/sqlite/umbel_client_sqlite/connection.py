"""One connection to the database file, with deadlines, patience and errors of our own."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from umbel_client_sqlite.failure import is_busy, translated
from umbel_client_sqlite.schema import Schema
from umbel_kernel.errors import ConfigurationError, OperationalError, UmbelError

_PATIENCE_FIRST = 0.00005
_PATIENCE_MOST = 0.004
_RESUME = 5.0
"""Seconds that a fork waits for a thread to end its transaction, and a connection to open again after it."""
_LEAST_SQLITE = (3, 38, 0)
"""The first that always has RETURNING and json_each."""
_LOOK_EVERY = 0.05
"""Seconds between two looks whether the file is still the one that was opened; a look costs 2 µs."""

_registry = threading.Lock()
_connections: weakref.WeakSet[Connection] = weakref.WeakSet()
_resting: list[Connection] = []
_forking: set[int] = set()
"""The threads that fork at this moment. One that began to fork before this module was imported is not among them."""


class Connection:
    """A connection that several threads may use, one after the other.

    A writer begins with ``BEGIN IMMEDIATE``. SQLite's own way of waiting for the lock sleeps up to 100 ms at a time,
    by which two busy workers starve each other; here the pauses are short and random.

    SQLite keeps what it knows of a file's locks for the whole process, and a forked child inherits it without the locks
    themselves, besides mutexes that other threads may hold at that moment. So before each fork all connections are let
    come to rest and closed; the parent's open again when they are next used, and the child's stay closed.

    Args:
        path: the file; it is created, following the umask, when it is not there.
        schema: the tables that the file has to have; they are made when they are not there.
        synchronous: ``NORMAL``: a commit outlives any crash of a process, and a power cut may take the last ones.
            ``FULL``: outlives that, too, at the cost of a flush to the disk for each.
        checkpoint_pages: pages of the write-ahead log after which it is copied into the file.
        refusal: raised for a value that is too large for SQLite.
    """

    def __init__(
        self,
        path: str,
        schema: Schema,
        *,
        synchronous: str,
        checkpoint_pages: int,
        refusal: type[UmbelError] = OperationalError,
    ) -> None:
        self.path = path
        self._schema = schema
        self._refusal = refusal
        self._synchronous = synchronous
        self._checkpoint_pages = checkpoint_pages
        self._lock = threading.RLock()
        self._sqlite: sqlite3.Connection | None = None
        self._identity: tuple[int, int] = (0, 0)
        self._look_at = 0.0
        self._rests = False
        self._generation = 0
        with _registry:
            _connections.add(self)

    @property
    def is_open(self) -> bool:
        return self._sqlite is not None or self._rests

    def open(self, deadline: float) -> None:
        """Open the file and make or check its tables. Does nothing when it is open.

        Args:
            deadline: of ``time.monotonic``, in seconds.

        Raises:
            OperationalError: it is locked, or cannot be written.
            ConfigurationError: it is no database, or of another version, or its directory is not there.
        """
        with self._lock:
            if self._sqlite is not None:
                return
            if sqlite3.sqlite_version_info < _LEAST_SQLITE:
                raise ConfigurationError(
                    f"this Python has SQLite {sqlite3.sqlite_version}; version 3.38 of 2022 or a later one is needed"
                )
            directory = os.path.dirname(self.path)
            if not os.path.isdir(directory):
                raise ConfigurationError(
                    f"the directory {directory} of the SQLite file {self.path} is not there; make it"
                )
            try:
                sqlite = sqlite3.connect(
                    self.path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=256
                )
            except sqlite3.Error as error:
                raise self.translated(error, "open") from error
            try:
                self._prepare(sqlite, deadline)
                stat = os.stat(self.path)
            except BaseException as error:
                sqlite.close()
                if isinstance(error, sqlite3.Error):
                    raise self.translated(error, "open") from error
                if isinstance(error, OSError):
                    raise OperationalError(f"the SQLite file {self.path} went away while it was opened") from error
                raise
            self._identity = (stat.st_dev, stat.st_ino)
            self._look_at = time.monotonic() + _LOOK_EVERY
            self._sqlite = sqlite
            self._rests = False
            self._generation += 1

    def _prepare(self, sqlite: sqlite3.Connection, deadline: float) -> None:
        while True:
            try:
                mode = sqlite.execute("PRAGMA journal_mode = WAL").fetchone()[0]
                if mode != "wal":
                    raise ConfigurationError(
                        f"the SQLite file {self.path} cannot have a write-ahead log (it stays in mode {mode}); keep it "
                        f"on a local disk, not on a network file system"
                    )
                sqlite.execute(f"PRAGMA synchronous = {self._synchronous}")
                sqlite.execute(f"PRAGMA wal_autocheckpoint = {int(self._checkpoint_pages)}")
                sqlite.execute(f"PRAGMA journal_size_limit = {int(self._checkpoint_pages) * 16384}")
                sqlite.execute("PRAGMA cache_size = -8000")
                sqlite.execute("PRAGMA secure_delete = OFF")
                sqlite.execute("PRAGMA temp_store = MEMORY")
                if not self._schema.is_in(sqlite, self.path):
                    sqlite.execute("BEGIN IMMEDIATE")
                    self._schema.create(sqlite)
                    sqlite.execute("COMMIT")
                else:
                    # A file that may only be read is told apart now, not by the first message.
                    sqlite.execute("BEGIN IMMEDIATE")
                    sqlite.execute("ROLLBACK")
                return
            except sqlite3.OperationalError as error:
                if sqlite.in_transaction:
                    sqlite.execute("ROLLBACK")
                if not is_busy(error) or time.monotonic() >= deadline:
                    raise
                time.sleep(_PATIENCE_MOST * random.random())

    def begin(self, deadline: float, doing: str) -> sqlite3.Connection:
        """Take this connection and the right to write. The caller ends with ``commit`` or ``rollback``.

        Raises:
            OperationalError: not within the deadline, or the file is gone.
        """
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise self._kept_busy(doing)
        try:
            sqlite = self._present(doing)
            pause = _PATIENCE_FIRST
            while True:
                try:
                    sqlite.execute("BEGIN IMMEDIATE")
                    return sqlite
                except sqlite3.Error as error:
                    if not is_busy(error) or time.monotonic() >= deadline:
                        raise self.translated(error, doing) from error
                time.sleep(pause * random.random())
                pause = min(pause * 1.5, _PATIENCE_MOST)
        except BaseException:
            self._lock.release()
            raise

    def commit(self) -> None:
        """Make it last. May raise sqlite3.Error; then ``rollback`` is still to be called."""
        assert self._sqlite is not None
        self._sqlite.execute("COMMIT")
        self._lock.release()

    def rollback(self) -> None:
        """Undo; never raises."""
        try:
            if self._sqlite is not None and self._sqlite.in_transaction:
                self._sqlite.execute("ROLLBACK")
        except sqlite3.Error:
            # A transaction that cannot even be undone: the file undoes it when the connection goes.
            self._drop()
        finally:
            self._lock.release()

    @contextmanager
    def transaction(self, deadline: float, doing: str) -> Iterator[sqlite3.Connection]:
        """A transaction that is committed at the end of the block, or undone when it raises.

        Raises:
            OperationalError: as SQLite said, translated.
        """
        sqlite = self.begin(deadline, doing)
        try:
            yield sqlite
            self.commit()
        except sqlite3.Error as error:
            self.rollback()
            raise self.translated(error, doing) from error
        except BaseException:
            self.rollback()
            raise

    def execute_one(self, statement: str, arguments: Sequence[Any], deadline: float, doing: str) -> list[Any]:
        """Run one statement as a transaction of its own; the rows that it returns.

        Raises:
            OperationalError: as SQLite said, translated.
        """
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise self._kept_busy(doing)
        try:
            sqlite = self._present(doing)
            pause = _PATIENCE_FIRST
            while True:
                try:
                    return sqlite.execute(statement, arguments).fetchall()
                except sqlite3.Error as error:
                    if not is_busy(error) or time.monotonic() >= deadline:
                        raise self.translated(error, doing) from error
                time.sleep(pause * random.random())
                pause = min(pause * 1.5, _PATIENCE_MOST)
        finally:
            self._lock.release()

    def translated(self, error: sqlite3.Error, doing: str) -> UmbelError:
        """The error of the kernel's tree to raise for one of SQLite's, met in a transaction that ``begin`` began."""
        return translated(error, self.path, doing, self._refusal)

    def _kept_busy(self, doing: str) -> OperationalError:
        return OperationalError(
            f"cannot {doing} the SQLite file {self.path}: other threads of this process keep it busy"
        )

    @contextmanager
    def reading(self, doing: str) -> Iterator[sqlite3.Connection]:
        """This connection, for single SELECTs that begin nothing.

        Raises:
            OperationalError: as SQLite said, translated.
        """
        with self._lock:
            sqlite = self._present(doing)
            try:
                yield sqlite
            except sqlite3.Error as error:
                raise self.translated(error, doing) from error

    def data_version(self) -> tuple[int, int]:
        """A value that changes when another connection, of whichever process, commits something. 4 µs."""
        with self._lock:
            try:
                version = self._present("look into").execute("PRAGMA data_version").fetchone()[0]
                return self._generation, version
            except sqlite3.Error as error:
                raise self.translated(error, "look into") from error

    def _present(self, doing: str) -> sqlite3.Connection:
        if self._sqlite is None and self._rests:
            self._resume(doing)
        if self._sqlite is None:
            raise OperationalError(f"cannot {doing} the SQLite file {self.path}: the connection is closed")
        now = time.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_EVERY
            try:
                stat = os.stat(self.path)
                there = (stat.st_dev, stat.st_ino) == self._identity
            except OSError:
                there = False
            if not there:
                raise self._gone(doing)
        return self._sqlite

    def _gone(self, doing: str) -> OperationalError:
        self._drop()
        return OperationalError(
            f"cannot {doing} the SQLite file {self.path}: it was deleted or replaced while it was open; what was in it "
            f"went with it"
        )

    def _resume(self, doing: str) -> None:
        """Open again after a fork; the file has to be the same."""
        before = self._identity
        self.open(time.monotonic() + _RESUME)
        if self._identity != before:
            raise self._gone(doing)

    def rest(self) -> bool:
        """Before a fork: take the lock and close; whether the lock was to be had."""
        if not self._lock.acquire(timeout=_RESUME):
            return False
        if self._sqlite is not None and not self._sqlite.in_transaction:
            self._drop()
            self._rests = True
        return True

    def go_on(self) -> None:
        """After a fork, in the parent."""
        self._lock.release()

    def forget(self) -> None:
        """After a fork, in the child: this is the parent's."""
        self._lock = threading.RLock()
        self._rests = False

    def _drop(self) -> None:
        if self._sqlite is not None:
            try:
                self._sqlite.close()
            except sqlite3.Error:
                # Nothing is held any more by a connection that cannot be closed in order.
                pass
            self._sqlite = None

    def close(self) -> None:
        """Close; never raises; a second call does nothing."""
        with self._lock:
            self._rests = False
            self._drop()


def _before_fork() -> None:
    _registry.acquire()
    _forking.add(threading.get_ident())
    _resting.extend([each for each in list(_connections) if each.rest()])


def _after_fork_in_parent() -> None:
    if threading.get_ident() not in _forking:
        return
    _forking.clear()
    while _resting:
        _resting.pop().go_on()
    _registry.release()


def _after_fork_in_child() -> None:
    global _registry
    _registry = threading.Lock()
    _resting.clear()
    _forking.clear()
    for each in list(_connections):
        each.forget()


os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
