"""Processes that fork while their threads use the database."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from umbel_broker_sqlite import SqliteBroker
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue
from umbel_kernel.url import URL
from umbel_testkit.background import Background
from umbel_testkit.child import run_forked

pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
QUEUE = Queue("tasks")


@pytest.fixture
def url(tmp_path: Path) -> URL:
    return URL.parse(f"sqlite:///{tmp_path}/broker.db")


@pytest.fixture
def broker(url: URL) -> Iterator[SqliteBroker]:
    made = SqliteBroker(url)
    made.declare([QUEUE])
    yield made
    made.close()


def test_forks_while_threads_read_and_write(url: URL, broker: SqliteBroker) -> None:
    ended = threading.Event()

    def publish() -> int:
        count = 0
        while not ended.is_set():
            broker.publish([Message(b"parent", "tasks")])
            count += 1
        return count

    def consume() -> int:
        consumer = broker.consumer([QUEUE])
        count = 0
        while not (ended.is_set() and publishing.done):
            found = consumer.receive(5, 0.05)
            consumer.ack(found)
            count += len(found)
        while found := consumer.receive(500, 0.2):
            consumer.ack(found)
            count += len(found)
        return count

    def child() -> None:
        mine = SqliteBroker(url)
        mine.publish([Message(b"child", "tasks")])
        mine.close()

    publishing = Background(publish)
    consuming = Background(consume)
    try:
        for _ in range(15):
            run_forked(child, within=20)
    finally:
        ended.set()
    assert consuming.result(within=30) == publishing.result(within=30) + 15


def test_the_child_holds_locks_of_its_own(url: URL, broker: SqliteBroker) -> None:
    """The last other connection that closes must not take the child for gone and delete its log."""
    broker.publish([Message(b"1", "tasks")])

    def child() -> None:
        mine = SqliteBroker(url)
        mine.publish([Message(b"2", "tasks")])

        def grandchild() -> None:
            other = SqliteBroker(url)
            assert other.size(["tasks"]) == {"tasks": 2}
            other.close()

        run_forked(grandchild, within=10)
        log = Path(f"{mine._path}-wal")
        mine.publish([Message(b"3", "tasks")])
        before = log.stat().st_ino
        mine.publish([Message(b"4", "tasks")])
        assert log.stat().st_ino == before
        mine.close()

    run_forked(child, within=20)
    assert broker.size(["tasks"]) == {"tasks": 4}


def test_what_a_forking_parent_holds_stays_its_own(broker: SqliteBroker) -> None:
    broker.publish([Message(b"1", "tasks")])
    consumer = broker.consumer([QUEUE])
    held = consumer.receive(1, 5)
    rival = broker.consumer([QUEUE])
    run_forked(lambda: None, within=10)
    assert rival.receive(1, 1.2) == []
    consumer.ack(held)
    assert broker.size(["tasks"]) == {"tasks": 0}
