"""Processes that are killed or stopped at any moment lose nothing."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from umbel_broker_sqlite import SqliteBroker
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue
from umbel_kernel.url import URL
from umbel_testkit.waiting import eventually

QUEUE = Queue("tasks")

HEAD = """
import os, sys, time
from umbel_broker_sqlite import SqliteBroker
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue
from umbel_kernel.url import URL
broker = SqliteBroker(URL.parse(sys.argv[1]), {"sqlite_lease": 1.0})
broker.connect(timeout=30)
log = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
"""
CONSUME = (
    HEAD
    + """
consumer = broker.consumer([Queue("tasks")])
while True:
    found = consumer.receive(7, 10)
    for delivery in found:
        os.write(log, delivery.body + b"\\n")
    consumer.ack(found)
"""
)
PUBLISH = (
    HEAD
    + """
number = 0
while True:
    bodies = [f"{os.getpid()}.{number + n}".encode() for n in range(1 + number % 4)]
    broker.publish([Message(body, "tasks") for body in bodies], timeout=30)
    number += len(bodies)
    os.write(log, b"".join(body + b"\\n" for body in bodies))
"""
)
HOLD = (
    HEAD
    + """
consumer = broker.consumer([Queue("tasks")])
held = consumer.receive(10, 10)
os.write(log, b"%d\\n" % len(held))
while True:
    line = sys.stdin.readline()
    if not line:
        break
    if line == "ack\\n":
        consumer.ack(held)
        os.write(log, b"acked\\n")
"""
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/broker.db"


@pytest.fixture
def broker(url: str) -> Iterator[SqliteBroker]:
    made = SqliteBroker(URL.parse(url), {"sqlite_lease": 1.0})
    made.connect(timeout=10)
    made.declare([QUEUE])
    yield made
    made.close()


@pytest.fixture
def spawn(url: str) -> Iterator[Callable[[str, Path], subprocess.Popen[str]]]:
    children: list[subprocess.Popen[str]] = []

    def start(script: str, log: Path) -> subprocess.Popen[str]:
        child = subprocess.Popen([sys.executable, "-c", script, url, str(log)], stdin=subprocess.PIPE, text=True)
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.communicate()


def lines(log: Path) -> list[str]:
    """The whole lines of a log; the last one may have been cut off by the kill."""
    return log.read_text().split("\n")[:-1] if log.exists() else []


def drained(broker: SqliteBroker) -> list[str]:
    consumer = broker.consumer([QUEUE])
    found = []
    while batch := consumer.receive(500, 2.5):
        found += [delivery.body.decode() for delivery in batch]
        consumer.ack(batch)
    consumer.close()
    return found


def consumers_killed(
    broker: SqliteBroker, spawn: Callable[[str, Path], subprocess.Popen[str]], log: Path, kills: int, total: int
) -> None:
    chance = random.Random(kills)
    bodies = [str(number) for number in range(total)]
    for start in range(0, total, 500):
        broker.publish([Message(body.encode(), "tasks") for body in bodies[start : start + 500]])
    for _ in range(kills):
        pair = [spawn(CONSUME, log), spawn(CONSUME, log)]
        before = len(lines(log))
        eventually(lambda before=before: len(lines(log)) > before, within=30, what="progress")  # type: ignore[misc]
        time.sleep(chance.random() * 0.02)
        for child in pair:
            child.send_signal(signal.SIGKILL)
            child.wait()
        broker.publish([Message(b"more%d" % len(lines(log)), "tasks")])
    rest = drained(broker)
    lost = set(bodies) - set(lines(log)) - set(rest)
    assert not lost, f"{len(lost)} of {total} messages are lost"
    assert broker.size(["tasks"]) == {"tasks": 0}


def test_killed_consumers_lose_nothing(
    broker: SqliteBroker, spawn: Callable[[str, Path], subprocess.Popen[str]], tmp_path: Path
) -> None:
    consumers_killed(broker, spawn, tmp_path / "log", kills=4, total=20_000)


@pytest.mark.slow
def test_consumers_killed_many_times_lose_nothing(
    broker: SqliteBroker, spawn: Callable[[str, Path], subprocess.Popen[str]], tmp_path: Path
) -> None:
    consumers_killed(broker, spawn, tmp_path / "log", kills=40, total=200_000)


def publishers_killed(
    broker: SqliteBroker, spawn: Callable[[str, Path], subprocess.Popen[str]], log: Path, kills: int
) -> None:
    chance = random.Random(kills)
    for _ in range(kills):
        pair = [spawn(PUBLISH, log), spawn(PUBLISH, log)]
        before = len(lines(log))
        eventually(lambda before=before: len(lines(log)) > before + 50, within=30, what="progress")  # type: ignore[misc]
        time.sleep(chance.random() * 0.02)
        for child in pair:
            child.send_signal(signal.SIGKILL)
            child.wait()
    found = drained(broker)
    assert len(found) == len(set(found)), "messages were doubled"
    lost = set(lines(log)) - set(found)
    assert not lost, f"{len(lost)} messages were accepted and are lost"
    for pid in {body.partition(".")[0] for body in found}:
        numbers = [int(body.partition(".")[2]) for body in found if body.startswith(f"{pid}.")]
        assert numbers == list(range(len(numbers))), "a batch was taken in part, or out of order"


def test_killed_publishers_lose_nothing(
    broker: SqliteBroker, spawn: Callable[[str, Path], subprocess.Popen[str]], tmp_path: Path
) -> None:
    publishers_killed(broker, spawn, tmp_path / "log", kills=4)


@pytest.mark.slow
def test_publishers_killed_many_times_lose_nothing(
    broker: SqliteBroker, spawn: Callable[[str, Path], subprocess.Popen[str]], tmp_path: Path
) -> None:
    publishers_killed(broker, spawn, tmp_path / "log", kills=40)


@pytest.mark.parametrize("lease", [1.0, 3600.0], ids=["short lease", "long lease"])
def test_what_a_killed_consumer_held_comes_back_at_once(
    url: str, lease: float, spawn: Callable[[str, Path], subprocess.Popen[str]], tmp_path: Path
) -> None:
    broker = SqliteBroker(URL.parse(url), {"sqlite_lease": lease})
    broker.connect(timeout=10)
    broker.publish([Message(b"1", "tasks"), Message(b"2", "tasks")])
    script = HOLD.replace('"sqlite_lease": 1.0', f'"sqlite_lease": {lease}')
    child = spawn(script, tmp_path / "log")
    eventually(lambda: lines(tmp_path / "log") == ["2"], within=30, what="the other to hold both")
    consumer = broker.consumer([QUEUE])
    assert consumer.receive(10, 0.2) == []
    child.kill()
    killed = time.monotonic()
    found = consumer.receive(10, 10)
    assert time.monotonic() - killed < 2.0
    assert [(each.body, each.redelivered, each.delivery_count) for each in found] == [
        (b"1", True, 1),
        (b"2", True, 1),
    ]
    broker.close()


def test_a_stopped_consumer_is_fenced(
    broker: SqliteBroker, spawn: Callable[[str, Path], subprocess.Popen[str]], tmp_path: Path
) -> None:
    log = tmp_path / "log"
    broker.publish([Message(b"1", "tasks")])
    child = spawn(HOLD, log)
    eventually(lambda: lines(log) == ["1"], within=30, what="the other to hold it")
    os.kill(child.pid, signal.SIGSTOP)
    consumer = broker.consumer([QUEUE])
    (mine,) = consumer.receive(10, 10)
    assert mine.redelivered
    os.kill(child.pid, signal.SIGCONT)
    assert child.stdin is not None
    child.stdin.write("ack\n")
    child.stdin.flush()
    eventually(lambda: lines(log) == ["1", "acked"], within=10, what="the late ack")
    consumer.reject([mine], requeue=True)
    (again,) = consumer.receive(10, 10)
    assert (again.body, again.delivery_count) == (b"1", 2), "an ack that came too late dropped the message"
