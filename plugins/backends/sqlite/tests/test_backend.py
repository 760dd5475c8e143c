"""What the SQLite backend does beyond the contract, and in bad times."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from umbel_backend_sqlite import SqliteBackend
from umbel_kernel.clock import SYSTEM_CLOCK, Clock
from umbel_kernel.errors import BackendError, ConfigurationError, OperationalError
from umbel_kernel.plugins import load
from umbel_kernel.spi.backend import CHORD_CLAIM, ChordPart, Record
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue
from umbel_kernel.url import URL
from umbel_testkit.backend import BackendConformance, json_state_of
from umbel_testkit.background import Background
from umbel_testkit.waiting import eventually

count = BackendConformance.count

WAIT = """
import sys
from umbel_backend_sqlite import SqliteBackend
from umbel_kernel.url import URL
backend = SqliteBackend(URL.parse(sys.argv[1]), state_of=lambda body: "")
backend.wait(["task"], timeout=60)
"""
COUNT = """
import sys
from umbel_backend_sqlite import SqliteBackend
from umbel_kernel.spi.backend import ChordPart
from umbel_kernel.url import URL
backend = SqliteBackend(URL.parse(sys.argv[1]), state_of=lambda body: "")
for index in range(200):
    part = ChordPart("g", index, 200, str(index), "SUCCESS", b"%d" % index)
    (mine,) = backend.chord_parts([part], timeout=30)
    found = backend.chord_bodies(part, timeout=30) if mine else None
    if found is not None and backend.chord_end("g", part.run, expires=None, timeout=30):
        print(len(found), flush=True)
"""


class TestClock:
    """A clock that is set by hand."""

    __test__ = False

    def __init__(self) -> None:
        self.wall = 1_800_000_000.0

    def time(self) -> float:
        return self.wall

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/results.db"


@pytest.fixture
def make(url: str) -> Iterator[Callable[..., SqliteBackend]]:
    made: list[SqliteBackend] = []

    def new(clock: Clock = SYSTEM_CLOCK, **options: object) -> SqliteBackend:
        backend = SqliteBackend(URL.parse(url), options, state_of=json_state_of, clock=clock)
        made.append(backend)
        return backend

    yield new
    for backend in made:
        backend.close()


def waiters(backend: SqliteBackend) -> int:
    with backend._connection.reading("test") as connection:
        return int(connection.execute("SELECT count(*) FROM umbel_backend_waiter").fetchone()[0])


def part(index: int, body: bytes, state: str = "SUCCESS", expires: float | None = None) -> ChordPart:
    return ChordPart("g", index, 2, f"task {index}", state, body, expires)


def test_a_success_that_expired_is_replaced(make: Callable[..., SqliteBackend]) -> None:
    clock = TestClock()
    backend = make(clock)
    backend.store([Record("task", "SUCCESS", b"old", expires=10)])
    backend.store([Record("task", "FAILURE", b"no", expires=10)])
    assert backend.fetch(["task"])["task"].body == b"old"
    clock.wall += 11
    assert backend.fetch(["task"]) == {}
    backend.store([Record("task", "FAILURE", b"new", expires=10)])
    assert backend.fetch(["task"])["task"].body == b"new"


def test_who_stores_cleans_up(make: Callable[..., SqliteBackend]) -> None:
    clock = TestClock()
    backend = make(clock, sqlite_backend_cleanup_interval=1e-6)
    backend.store([Record(str(number), "SUCCESS", b"x", expires=10) for number in range(20)])
    clock.wall += 11
    backend.store([Record("new", "SUCCESS", b"x", expires=10)])
    with backend._connection.reading("test") as connection:
        assert connection.execute("SELECT count(*) FROM umbel_backend_result").fetchone() == (1,)


def test_cleanup_counts(make: Callable[..., SqliteBackend]) -> None:
    clock = TestClock()
    backend = make(clock)
    backend.store([Record(str(number), "SUCCESS", b"x", expires=10) for number in range(2500)])
    backend.store_group("group", b"x", expires=10)
    count(backend, part(0, b"0", expires=10))
    backend.store([Record("kept", "SUCCESS", b"x")])
    assert backend.cleanup() == 0
    clock.wall += 11
    assert backend.cleanup() == 2502
    assert list(backend.fetch(["kept", "0"])) == ["kept"]


def test_a_success_after_a_failure_is_what_the_chord_sees(make: Callable[..., SqliteBackend]) -> None:
    backend = make()
    assert count(backend, part(0, b"failed", "FAILURE")) is None
    assert count(backend, part(0, b"retried")) is None
    assert count(backend, part(0, b"failed again", "FAILURE")) is None
    assert count(backend, part(1, b"1")) == [b"retried", b"1"]


def test_a_part_outside_its_header_is_refused(make: Callable[..., SqliteBackend]) -> None:
    backend = make()
    with pytest.raises(BackendError, match="part 2 of the chord g is outside its header, which has 2 members"):
        count(backend, part(2, b"?"))
    assert count(backend, part(0, b"0")) is None
    assert count(backend, part(1, b"1")) == [b"0", b"1"]


def test_processes_that_count_at_once_complete_a_chord_once(url: str, make: Callable[..., SqliteBackend]) -> None:
    make().connect(timeout=5)
    children = [subprocess.Popen([sys.executable, "-c", COUNT, url], stdout=subprocess.PIPE) for _ in range(3)]
    said = [child.communicate(timeout=60)[0] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert b"".join(said) == b"200\n"


@pytest.mark.parametrize("count", [1, 3, 100])
def test_a_waiter_is_rung_and_leaves_nothing_behind(make: Callable[..., SqliteBackend], count: int) -> None:
    reader, writer = make(sqlite_backend_poll_interval=30.0), make()
    writer.connect(timeout=5)
    ids = [str(number) for number in range(count)]
    reading = Background(lambda: reader.wait(ids, timeout=20))
    eventually(lambda: waiters(writer) > 0, within=5, what="a waiter")
    writer.store([Record("0", "STARTED", b"{}"), Record("unrelated", "SUCCESS", b"{}")])
    assert not reading.done
    writer.store([Record("0", "SUCCESS", b"{}")])
    assert list(reading.result(within=5)) == ["0"]
    assert waiters(writer) == 0


def test_a_wait_in_vain_leaves_nothing_behind(make: Callable[..., SqliteBackend]) -> None:
    backend = make()
    assert backend.wait(["task"], timeout=0.05) == {}
    assert waiters(backend) == 0


def test_a_killed_waiter_is_tidied_up(url: str, make: Callable[..., SqliteBackend]) -> None:
    backend = make()
    backend.connect(timeout=5)
    child = subprocess.Popen([sys.executable, "-c", WAIT, url])
    eventually(lambda: waiters(backend) == 1, within=30, what="the other process to wait")
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    backend.store([Record("task", "SUCCESS", b"{}")])
    assert waiters(backend) == 0


def test_closing_ends_a_wait(make: Callable[..., SqliteBackend]) -> None:
    backend = make()
    backend.connect(timeout=5)
    reading = Background(lambda: backend.wait(["task"], timeout=None))
    eventually(lambda: waiters(backend) == 1, within=5, what="a waiter")
    backend.close()
    with pytest.raises(OperationalError, match="closed"):
        reading.result(within=5)


def test_one_file_for_broker_and_results(url: str, make: Callable[..., SqliteBackend]) -> None:
    broker = load("brokers", "sqlite")(URL.parse(url))
    backend = make()
    broker.publish([Message(b"1", "tasks")])
    backend.store([Record("task", "SUCCESS", b"{}")])
    consumer = broker.consumer([Queue("tasks")])
    (found,) = consumer.receive(1, 5)
    consumer.ack([found])
    assert list(backend.wait(["task"], timeout=0)) == ["task"]
    broker.close()


def test_another_version(tmp_path: Path, make: Callable[..., SqliteBackend]) -> None:
    make().connect(timeout=5)
    with sqlite3.connect(tmp_path / "results.db") as connection:
        connection.execute("UPDATE umbel_backend_meta SET value = 99 WHERE name = 'version'")
    connection.close()
    with pytest.raises(ConfigurationError, match=r"results\.db holds results of version 99"):
        make().connect(timeout=1)


def test_locked_by_another(tmp_path: Path, make: Callable[..., SqliteBackend]) -> None:
    backend = make()
    backend.connect(timeout=5)
    other = sqlite3.connect(tmp_path / "results.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(OperationalError, match=r"results\.db: it stayed locked by another process"):
        backend.store([Record("task", "SUCCESS", b"{}")], timeout=0.1)
    assert backend.fetch(["task"]) == {}
    other.execute("ROLLBACK")
    other.close()
    backend.store([Record("task", "SUCCESS", b"{}")])


def test_a_full_disk_keeps_what_was_stored(make: Callable[..., SqliteBackend]) -> None:
    backend = make()
    backend.store([Record("kept", "SUCCESS", b"{}")])
    with backend._connection.reading("test") as connection:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(OperationalError, match="the disk or the quota is full"):
        backend.store([Record("large", "SUCCESS", b"x" * 100_000)])
    assert list(backend.fetch(["kept", "large"])) == ["kept"]


def test_a_record_that_is_too_large(make: Callable[..., SqliteBackend]) -> None:
    backend = make()
    backend.connect(timeout=5)
    with backend._connection.reading("test") as connection:
        connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1000)
    with pytest.raises(BackendError, match=r"results\.db"):
        backend.store([Record("large", "SUCCESS", b"x" * 2000)])


def test_a_wait_outlives_a_file_that_is_replaced(tmp_path: Path, make: Callable[..., SqliteBackend]) -> None:
    reader, writer = make(), make()
    writer.connect(timeout=5)
    reading = Background(lambda: reader.wait(["task"], timeout=20))
    eventually(lambda: waiters(writer) == 1, within=5, what="a waiter")
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"results.db{suffix}").unlink(missing_ok=True)

    def stored() -> bool:
        try:
            writer.store([Record("task", "SUCCESS", b"{}")])
        except OperationalError:
            return False
        return (tmp_path / "results.db").exists()

    eventually(stored, within=5, what="the writer to begin anew")
    assert list(reading.result(within=10)) == ["task"]


def test_who_completed_a_chord_has_it_alone_for_a_while(make: Callable[..., SqliteBackend]) -> None:
    clock = TestClock()
    backend = make(clock)
    first, last = part(0, b"0"), part(1, b"1")
    assert (count(backend, first), count(backend, last)) == (None, [b"0", b"1"])
    clock.wall += CHORD_CLAIM - 0.1
    assert count(backend, first) is None
    clock.wall += 0.2
    assert count(backend, first) == [b"0", b"1"]


def test_the_end_of_a_chord_leaves_only_its_mark(make: Callable[..., SqliteBackend]) -> None:
    backend = make()
    parts = [part(0, b"0"), part(1, b"1")]
    assert backend.chord_add("g", 2, "added", expires=None) == 2
    parts.append(part(2, b"2"))
    assert [count(backend, each) for each in parts][-1] == [b"0", b"1", b"2"]
    assert backend.chord_end("g", parts[-1].run, expires=None)
    with backend._connection.reading("test") as connection:
        tables = ("chord", "part", "added")
        left = [connection.execute(f"SELECT count(*) FROM umbel_backend_{name}").fetchone()[0] for name in tables]
    assert left == [1, 0, 0]
