"""Files that are missing, foreign, damaged, locked, full or gone, and what the errors say."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from umbel_broker_sqlite import SqliteBroker
from umbel_kernel.errors import ConfigurationError, OperationalError, PublishError
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue
from umbel_kernel.url import URL
from umbel_testkit.waiting import eventually

QUEUE = Queue("tasks")


def broker_on(path: Path | str, **options: object) -> SqliteBroker:
    return SqliteBroker(URL.parse(f"sqlite:///{path}"), options)


@pytest.mark.parametrize("options", [{"sqlite_synchronous": "SOMETIMES"}, {"sqlite_lease": 0}, {"lease": "long"}])
def test_options_that_are_wrong(options: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="sqlite_"):
        broker_on(tmp_path / "x.db", **options)


def test_full_synchronous_is_set(tmp_path: Path) -> None:
    broker = broker_on(tmp_path / "x.db", synchronous="full")
    broker.connect(timeout=5)
    with broker._connection.reading("test") as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    broker.close()


def test_a_damaged_database(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    broker = broker_on(path)
    broker.publish([Message(b"x" * 3000, "tasks") for _ in range(50)])
    broker.close()
    content = bytearray(path.read_bytes())
    for at in range(4096, len(content), 4096):
        content[at : at + 8] = b"\xff" * 8
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=r"x\.db: it is damaged"):
        broker_on(path).consumer([QUEUE]).receive(10, 0)


def test_another_version(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    broker = broker_on(path)
    broker.connect(timeout=5)
    broker.close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE umbel_broker_meta SET value = 99 WHERE name = 'version'")
    connection.close()
    with pytest.raises(ConfigurationError, match=r"x\.db holds a broker of version 99"):
        broker_on(path).connect(timeout=1)


def test_a_database_of_another_program_is_shared(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE theirs (x)")
        connection.execute("INSERT INTO theirs VALUES (1)")
    connection.close()
    broker = broker_on(path)
    broker.publish([Message(b"1", "tasks")])
    assert [found.body for found in broker.consumer([QUEUE]).receive(1, 1)] == [b"1"]
    broker.close()
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT x FROM theirs").fetchall() == [(1,)]
    connection.close()


def test_locked_by_another(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    broker = broker_on(path)
    broker.publish([Message(b"1", "tasks")])
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    message = Message(b"2", "tasks")
    for batch in ([message], [message, message]):
        with pytest.raises(PublishError, match=r"x\.db: it stayed locked by another process") as caught:
            broker.publish(batch, timeout=0.2)
        assert (list(caught.value.failed), caught.value.taken) == (batch, 0)
    with pytest.raises(OperationalError, match="stayed locked"):
        broker_on(path).connect(timeout=0.2)
    other.execute("ROLLBACK")
    other.close()
    broker.publish([message])
    assert broker.size(["tasks"]) == {"tasks": 2}
    broker.close()


def test_a_full_disk_takes_nothing_and_loses_nothing(tmp_path: Path) -> None:
    broker = broker_on(tmp_path / "x.db")
    broker.publish([Message(b"kept", "tasks")])
    with broker._connection.reading("test") as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 20}")
    large = [Message(b"x" * 4000, "tasks") for _ in range(100)]
    with pytest.raises(PublishError, match="the disk or the quota is full") as caught:
        broker.publish(large)
    assert len(caught.value.failed) == 100
    assert broker.size(["tasks"]) == {"tasks": 1}
    with broker._connection.reading("test") as connection:
        connection.execute("PRAGMA max_page_count = 1000000")
    broker.publish(large)
    assert len(broker.consumer([QUEUE]).receive(1000, 5)) == 101
    broker.close()


@pytest.mark.parametrize("replace", [False, True], ids=["deleted", "replaced"])
def test_a_file_that_goes_away(tmp_path: Path, replace: bool) -> None:
    path = tmp_path / "x.db"
    broker = broker_on(path)
    broker.declare([QUEUE])
    consumer = broker.consumer([QUEUE])
    assert consumer.receive(1, 0) == []
    for suffix in ("", "-wal", "-shm", "-members"):
        Path(str(path) + suffix).unlink(missing_ok=True)
    if replace:
        sqlite3.connect(path).close()
        path.touch()

    def refused(call: Callable[[], object]) -> bool:
        try:
            call()
        except OperationalError as error:
            return "it was deleted or replaced" in str(error)
        return False

    eventually(lambda: refused(lambda: consumer.receive(1, 0)), within=5, what="the consumer to say so")
    eventually(
        lambda: refused(lambda: broker.publish([Message(b"?", "tasks")])), within=5, what="the publisher to say so"
    )
    consumer.close()
    broker.connect(timeout=5)
    broker.declare([QUEUE])
    broker.publish([Message(b"a new beginning", "tasks")])
    assert [found.body for found in broker.consumer([QUEUE]).receive(10, 5)] == [b"a new beginning"]
    broker.close()
