"""Quorum queues and tasks that wait in RabbitMQ, between umbel and Celery in both directions."""

from __future__ import annotations

import contextlib
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import amqp
import pytest

from umbel.model.ids import uuid

pytest.importorskip("celery")

PROGRAMS = Path(__file__).with_name("programs")
BIN = Path(sys.executable).parent


class Fleet:
    """A worker of each kind on quorum queues, and the ledger that their tasks write into.

    Args:
        exchange_type: of the queues' exchanges.
    """

    def __init__(self, broker: str, folder: Path, exchange_type: str) -> None:
        self.broker, self.folder, self.exchange_type = broker, folder, exchange_type
        self.prefix = f"delayed-{uuid()[:8]}"
        self.ledger = folder / "ledger"
        self.processes: list[subprocess.Popen[bytes]] = []
        self.jobs = _load()

    def queue(self, kind: str) -> str:
        return f"{self.prefix}-{'ours' if kind == 'Umbel' else 'theirs'}"

    def start(self, kind: str) -> None:
        env = {
            **os.environ,
            "DELAYED_KIND": kind,
            "DELAYED_BROKER": self.broker,
            "DELAYED_PREFIX": self.prefix,
            "DELAYED_SIDE": "ours" if kind == "Umbel" else "theirs",
            "DELAYED_EXCHANGE": self.exchange_type,
            "DELAYED_LEDGER": str(self.ledger),
        }
        command = [str(BIN / kind.lower()), "-A", "delayed_jobs", "worker", "-l", "INFO", "-c", "2", "-P", "threads"]
        command += ["-n", f"{self.queue(kind)}@interop"]
        with self.log(kind).open("wb") as log:
            self.processes.append(
                subprocess.Popen(command, cwd=PROGRAMS, env=env, stdout=log, stderr=log, start_new_session=True)
            )

    def log(self, kind: str) -> Path:
        return self.folder / f"{kind}.log"

    def client(self, kind: str, to: str) -> Any:
        """An app of a kind whose tasks go to the worker of a kind."""
        side = "ours" if to == "Umbel" else "theirs"
        return self.jobs.make(kind, self.broker, self.prefix, side, self.exchange_type)

    def lines(self, word: str) -> list[list[str]]:
        if not self.ledger.exists():
            return []
        return [line.split() for line in self.ledger.read_text().splitlines() if line.split()[1] == word]

    def counts(self, kind: str) -> tuple[int, int]:
        """How many messages wait in the queue of a worker, and how many of its consumers there are."""
        with amqp.Connection(_host(self.broker)) as connection:
            found = connection.channel().queue_declare(self.queue(kind), passive=True)
            return found.message_count, found.consumer_count

    def close(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        with amqp.Connection(_host(self.broker)) as connection:
            channel = connection.channel()
            for kind in ("Umbel", "Celery"):
                channel.queue_delete(self.queue(kind))
                channel.exchange_delete(self.queue(kind))


def _host(url: str) -> str:
    return url.rsplit("@", 1)[1].strip("/")


def _load() -> Any:
    sys.path.insert(0, str(PROGRAMS))
    try:
        return importlib.import_module("delayed_jobs")
    finally:
        sys.path.remove(str(PROGRAMS))


def _running(broker: str, folder: Path, exchange_type: str, kinds: tuple[str, ...], until: Any) -> Iterator[Fleet]:
    fleet = Fleet(broker, folder, exchange_type)
    try:
        for kind in kinds:
            fleet.start(kind)
        for kind in kinds:
            log = fleet.log(kind)
            until(lambda log=log: " ready" in log.read_text(), lambda log=log: log.read_text()[-3000:])
        yield fleet
    finally:
        with contextlib.suppress(amqp.exceptions.AMQPError):
            fleet.close()


@pytest.fixture(scope="module")
def topic_fleet(
    amqp_url: str, tmp_path_factory: pytest.TempPathFactory, wait_until: Callable[..., Any]
) -> Iterator[Fleet]:
    """Workers of both kinds whose queues are bound to topic exchanges, as Celery asks for."""
    folder = tmp_path_factory.mktemp("topic")
    yield from _running(amqp_url, folder, "topic", ("Umbel", "Celery"), wait_until)


@pytest.fixture(scope="module")
def direct_fleet(
    amqp_url: str, tmp_path_factory: pytest.TempPathFactory, wait_until: Callable[..., Any]
) -> Iterator[Fleet]:
    """Workers of both kinds whose queues are bound to direct exchanges, where Celery has no native delays."""
    yield from _running(amqp_url, tmp_path_factory.mktemp("direct"), "direct", ("Umbel", "Celery"), wait_until)


WAYS = [("Celery", "Umbel"), ("Umbel", "Celery"), ("Umbel", "Umbel")]


@pytest.mark.parametrize(("client", "worker"), WAYS, ids=lambda kind: kind)
def test_countdown_eta_and_at_once(topic_fleet: Fleet, wait_until: Any, client: str, worker: str) -> None:
    app = topic_fleet.client(client, worker)
    words = [f"{client}-{worker}-{number}-{uuid()[:6]}" for number in range(3)]
    sent = time.time()
    app.tasks["delayed.note"].apply_async((words[0],), countdown=3.5)
    app.tasks["delayed.note"].apply_async((words[1],), eta=app.now() + timedelta(seconds=2.2))
    app.tasks["delayed.note"].apply_async((words[2],))
    found = [wait_until(lambda word=word: topic_fleet.lines(word))[0] for word in words]
    app.close()
    assert {line[0] for line in found} == {worker}
    took = [float(line[2]) - sent for line in found]
    for took_one, due in zip(took, (3.5, 2.2, 0.0), strict=True):
        assert due - 0.01 <= took_one < due + 2.0, took
    time.sleep(0.5)
    assert [len(topic_fleet.lines(word)) for word in words] == [1, 1, 1]


@pytest.mark.slow
@pytest.mark.parametrize(("client", "worker"), WAYS, ids=lambda kind: kind)
def test_a_task_waits_in_the_broker_and_not_in_the_worker(
    topic_fleet: Fleet, wait_until: Any, client: str, worker: str
) -> None:
    app = topic_fleet.client(client, worker)
    words = [f"many-{number}-{uuid()[:6]}" for number in range(20)]
    before = topic_fleet.log(worker).read_text().count(" received")
    sent = time.time()
    for word in words:
        app.tasks["delayed.note"].apply_async((word,), countdown=4)
    time.sleep(max(0.0, sent + 2.5 - time.time()))
    assert topic_fleet.log(worker).read_text().count(" received") == before
    for word in words:
        line = wait_until(lambda word=word: topic_fleet.lines(word))[0]
        assert 3.99 <= float(line[2]) - sent < 7
    app.close()
    assert all(len(topic_fleet.lines(word)) == 1 for word in words)
    wait_until(lambda: topic_fleet.counts(worker)[0] == 0)


@pytest.mark.slow
@pytest.mark.parametrize(("client", "worker"), WAYS, ids=lambda kind: kind)
def test_retries_wait_time_and_again(topic_fleet: Fleet, wait_until: Any, client: str, worker: str) -> None:
    app = topic_fleet.client(client, worker)
    word = f"again-{uuid()[:6]}"
    app.tasks["delayed.again"].apply_async((word, 3), countdown=2)
    app.close()
    lines = wait_until(lambda: len(topic_fleet.lines(word)) == 4 and topic_fleet.lines(word))
    assert [line[3] for line in lines] == ["0", "1", "2", "3"]
    times = [float(line[2]) for line in lines]
    assert all(1.9 < later - earlier < 5 for earlier, later in pairwise(times))


@pytest.mark.slow
@pytest.mark.parametrize(("client", "worker"), WAYS, ids=lambda kind: kind)
def test_a_direct_exchange(direct_fleet: Fleet, wait_until: Any, client: str, worker: str) -> None:
    app = direct_fleet.client(client, worker)
    words = [f"direct-{number}-{uuid()[:6]}" for number in range(30)]
    soon = f"soon-{uuid()[:6]}"
    sent = time.time()
    for word in words:
        app.tasks["delayed.note"].apply_async((word,), countdown=6.5)
    app.tasks["delayed.note"].apply_async((soon,))
    app.close()
    # Celery sends such tasks straight to the queue; more of them than the worker takes ahead do not stall it.
    wait_until(lambda: direct_fleet.lines(soon), seconds=4)
    wait_until(lambda: direct_fleet.counts(worker)[0] == 0)
    for word in words:
        line = wait_until(lambda word=word: direct_fleet.lines(word))[0]
        assert 6.49 <= float(line[2]) - sent < 10
    time.sleep(0.5)
    assert all(len(direct_fleet.lines(word)) == 1 for word in words)


def test_the_layout_is_celerys(topic_fleet: Fleet, amqp_url: str) -> None:
    """Celery declares it once more over ours, and the server would refuse another one."""
    jobs = topic_fleet.jobs
    app = jobs.make("Celery", amqp_url, topic_fleet.prefix, "ours", "topic")
    layout = importlib.import_module("kombu.transport.native_delayed_delivery")
    with app.connection_for_write() as connection:
        layout.declare_native_delayed_delivery_exchanges_and_queues(connection, "quorum")
        layout.bind_queue_to_native_delayed_delivery_exchange(connection, app.amqp.queues[app.conf.task_default_queue])
