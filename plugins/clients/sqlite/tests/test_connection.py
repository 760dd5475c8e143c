"""Transactions, patience, and files that are missing, foreign, locked, full or gone, and what the errors say."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from umbel_client_sqlite import Connection
from umbel_kernel.errors import BackendError, ConfigurationError, OperationalError
from umbel_testkit.background import Background
from umbel_testkit.child import run_forked
from umbel_testkit.waiting import Stopwatch, eventually

INSERT = "INSERT INTO probe_row VALUES (?)"
Make = Callable[..., Connection]


def within(seconds: float) -> float:
    return time.monotonic() + seconds


def opened(make: Make, *arguments: object, **options: object) -> Connection:
    connection = make(*arguments, **options)
    connection.open(within(5))
    return connection


def insert(connection: Connection, body: bytes, seconds: float = 5) -> None:
    with connection.transaction(within(seconds), "write to") as sqlite:
        sqlite.execute(INSERT, (body,))


def rows(connection: Connection) -> list[bytes]:
    with connection.reading("read from") as sqlite:
        return [row[0] for row in sqlite.execute("SELECT body FROM probe_row ORDER BY rowid")]


@pytest.mark.parametrize(("synchronous", "level"), [("NORMAL", 1), ("FULL", 2)])
def test_the_file_is_opened_as_asked(make: Make, synchronous: str, level: int) -> None:
    connection = opened(make, synchronous=synchronous)
    with connection.reading("test") as sqlite:
        assert sqlite.execute("PRAGMA synchronous").fetchone() == (level,)
        assert sqlite.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert sqlite.execute("PRAGMA wal_autocheckpoint").fetchone() == (1000,)


def test_a_transaction_is_kept_whole_or_not_at_all(make: Make) -> None:
    connection, other = opened(make), opened(make)
    insert(connection, b"kept")
    with pytest.raises(ZeroDivisionError), connection.transaction(within(5), "write to") as sqlite:
        sqlite.execute(INSERT, (b"undone",))
        raise ZeroDivisionError
    with pytest.raises(OperationalError, match=r"cannot write to the SQLite file .*x\.db: .*no such table"):  # noqa: SIM117
        with connection.transaction(within(5), "write to") as sqlite:
            sqlite.execute(INSERT, (b"undone",))
            sqlite.execute("INSERT INTO nowhere VALUES (1)")
    assert rows(other) == [b"kept"]
    assert connection.execute_one(f"{INSERT} RETURNING body", (b"too",), within(5), "write to") == [(b"too",)]
    assert rows(other) == [b"kept", b"too"]


def test_only_what_others_wrote_changes_the_data_version(make: Make) -> None:
    connection, other = opened(make), opened(make)
    before = connection.data_version()
    insert(connection, b"mine")
    assert connection.data_version() == before
    insert(other, b"theirs")
    assert connection.data_version() != before


def test_a_closed_connection_says_so(make: Make) -> None:
    connection = opened(make)
    assert connection.is_open
    connection.close()
    connection.close()
    assert not connection.is_open
    with pytest.raises(OperationalError, match=r"cannot write to the SQLite file .*x\.db: the connection is closed"):
        insert(connection, b"x")
    connection.open(within(5))
    insert(connection, b"again")


def test_a_missing_directory(make: Make, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="nowhere"):
        opened(make, tmp_path / "nowhere" / "x.db")


def test_a_directory_instead_of_a_file(make: Make, tmp_path: Path) -> None:
    with pytest.raises(OperationalError, match=str(tmp_path)):
        opened(make, tmp_path)


def test_a_file_that_is_no_database(make: Make, path: Path) -> None:
    path.write_bytes(b"This is a letter to my aunt, and not a database. " * 100)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=r"x\.db: it is not an SQLite database"):
        opened(make)
    assert path.read_bytes() == before


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_file_that_may_only_be_read(make: Make, path: Path, tmp_path: Path) -> None:
    opened(make).close()
    for each in tmp_path.iterdir():
        each.chmod(0o444)
    tmp_path.chmod(0o555)
    modes = {parent: parent.stat().st_mode for parent in tmp_path.parents}
    parents = {parent: mode for parent, mode in modes.items() if not mode & stat.S_IXOTH}
    for parent in parents:
        parent.chmod(0o755)

    def child() -> None:
        if os.getuid() == 0:
            os.setuid(65534)
        with pytest.raises(OperationalError, match=r"x\.db: it (may only be read|cannot be opened)"):
            opened(make)

    try:
        run_forked(child, within=20)
    finally:
        tmp_path.chmod(0o755)
        for parent, mode in parents.items():
            parent.chmod(mode)


def test_locked_by_another_process(make: Make, path: Path) -> None:
    connection = opened(make)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for call in (
        lambda: insert(connection, b"x", 0.1),
        lambda: connection.execute_one(INSERT, (b"x",), within(0.1), "write to"),
        lambda: make().open(within(0.1)),
    ):
        with (
            Stopwatch() as waited,
            pytest.raises(OperationalError, match=r"x\.db: it stayed locked by another process"),
        ):
            call()
        assert 0.1 <= waited.seconds < 3
    assert rows(connection) == []
    waiting = Background(lambda: insert(connection, b"after", 20))
    other.execute("ROLLBACK")
    other.close()
    waiting.result(within=10)
    assert rows(connection) == [b"after"]


def test_kept_busy_by_another_thread(make: Make) -> None:
    connection = opened(make)
    with connection.transaction(within(5), "write to"):
        busy = Background(lambda: insert(connection, b"x", 0.1))
        with pytest.raises(OperationalError, match="other threads of this process keep it busy"):
            busy.result(within=10)
        busy = Background(lambda: connection.execute_one(INSERT, (b"x",), within(0.1), "write to"))
        with pytest.raises(OperationalError, match="other threads of this process keep it busy"):
            busy.result(within=10)
    assert rows(connection) == []


def test_a_full_disk(make: Make) -> None:
    connection = opened(make)
    insert(connection, b"kept")
    with connection.reading("test") as sqlite:
        pages = sqlite.execute("PRAGMA page_count").fetchone()[0]
        sqlite.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(OperationalError, match="the disk or the quota is full"):
        insert(connection, b"x" * 100_000)
    assert rows(connection) == [b"kept"]


def test_a_value_that_is_too_large_is_refused_as_asked(make: Make) -> None:
    connection = opened(make)
    with connection.reading("test") as sqlite:
        sqlite.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1000)
    with pytest.raises(BackendError, match=r"x\.db: a value is larger than SQLite stores"):
        insert(connection, b"x" * 2000)


@pytest.mark.parametrize("replace", [False, True], ids=["deleted", "replaced"])
def test_a_file_that_goes_away(make: Make, path: Path, replace: bool) -> None:
    connection = opened(make)
    insert(connection, b"gone with it")
    for suffix in ("", "-wal", "-shm"):
        Path(f"{path}{suffix}").unlink(missing_ok=True)
    if replace:
        path.touch()

    def refused() -> bool:
        try:
            connection.data_version()
        except OperationalError as error:
            return "it was deleted or replaced" in str(error)
        return False

    eventually(refused, within=5, what="the connection to say so")
    assert not connection.is_open
    connection.open(within(5))
    assert rows(connection) == []
