"""Workers of umbel and of Celery, real processes side by side on one broker, and clients of both kinds."""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import umbel
import umbel.exceptions
from umbel.model.ids import uuid

celery = pytest.importorskip("celery")
celery_exceptions = pytest.importorskip("celery.exceptions")
redis = pytest.importorskip("redis")

PROGRAMS = Path(__file__).with_name("programs")
BIN = Path(sys.executable).parent
PATIENCE = 30.0


class Fleet:
    """The workers on one broker, and the ledger that tasks write into.

    Args:
        broker: URL of the broker.
        backend: URL of the result backend.
        folder: for logs and the ledger.
        visibility: seconds after which Redis gives back what a dead consumer held.
    """

    def __init__(self, broker: str, backend: str, folder: Path, visibility: float | None = None) -> None:
        self.broker, self.backend, self.folder = broker, backend, folder
        self.prefix = f"interop-{uuid()[:8]}"
        self.ledger = folder / "ledger"
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.env = {
            **os.environ,
            "INTEROP_BROKER": broker,
            "INTEROP_BACKEND": backend,
            "INTEROP_PREFIX": self.prefix,
            "INTEROP_LEDGER": str(self.ledger),
        }
        if visibility is not None:
            self.env["INTEROP_VISIBILITY"] = str(visibility)

    def start(self, side: str, name: str, *queues: str) -> subprocess.Popen[bytes]:
        """Start a worker of a side, ``ours`` or ``theirs``, in a process group of its own."""
        program = str(BIN / ("umbel" if side == "ours" else "celery"))
        command = [program, "-A", f"interop_{side}", "worker", "-l", "INFO"]
        command += ["-c", "2", "-n", self.hostname(name), "-Q", ",".join(self.queue(each) for each in queues)]
        with self.log(name).open("wb") as log:
            process = subprocess.Popen(
                command, cwd=PROGRAMS, env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        self.processes[name] = process
        return process

    def wait_ready(self, name: str) -> None:
        """Wait until a worker says that it is ready."""
        until(lambda: " ready" in self.log(name).read_text(), lambda: self.log(name).read_text()[-3000:])

    def queue(self, name: str) -> str:
        """The full name of a queue."""
        return f"{self.prefix}-{name}"

    def hostname(self, name: str) -> str:
        """The node name of a worker."""
        return f"{name}-{self.prefix}@interop"

    def log(self, name: str) -> Path:
        """Where a worker writes its log."""
        return self.folder / f"{name}.log"

    def lines(self, *words: str) -> list[list[str]]:
        """The lines of the ledger that have these words after the side's name."""
        if not self.ledger.exists():
            return []
        found = [line.split() for line in self.ledger.read_text().splitlines()]
        return [line for line in found if line[1 : 1 + len(words)] == list(words)]

    def stop(self) -> None:
        """End the workers: in good order when they can."""
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


class Pair:
    """A client of one kind and the workers of the other.

    Attributes:
        app: the client's app.
        canvas: the client's package, for group, chain and chord.
        exceptions: the client's errors.
        worker: ``Umbel`` or ``Celery``: whose workers run the tasks.
    """

    def __init__(self, fleet: Fleet, client: str) -> None:
        self.fleet = fleet
        self.client = client
        self.side = "theirs" if client == "umbel" else "ours"
        self.worker = "Celery" if client == "umbel" else "Umbel"
        self.canvas: Any = umbel if client == "umbel" else celery
        self.exceptions: Any = umbel.exceptions if client == "umbel" else celery_exceptions
        self.app = self.make()
        self.words = (f"w{number}" for number in itertools.count())

    def make(self) -> Any:
        """A new app of the client's kind."""
        program = PROGRAM["interop_ours" if self.client == "umbel" else "interop_theirs"]
        fleet = self.fleet
        return program.make(fleet.broker, fleet.backend, fleet.prefix, self.side, set_as_current=False)

    def task(self, name: str) -> Any:
        """A task of the client's app."""
        return self.app.tasks[f"jobs.{name}"]

    def word(self) -> str:
        """A word that no other line of the ledger has."""
        return f"{self.client}-{next(self.words)}-{uuid()[:6]}"


def until(holds: Callable[[], Any], say: Callable[[], object] = lambda: "", seconds: float = PATIENCE) -> Any:
    """Wait until something is true; returns it."""
    end = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < end, say()
        time.sleep(0.01)
    return found


def _load(name: str) -> ModuleType:
    sys.path.insert(0, str(PROGRAMS))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(PROGRAMS))


PROGRAM = {name: _load(name) for name in ("interop_jobs", "interop_ours", "interop_theirs")}


@pytest.fixture(scope="session")
def own_redis(claim_redis: Callable[[str], contextlib.AbstractContextManager[Any]]) -> Iterator[str]:
    """A Redis database that was empty and is empty again in the end, once it is sure that nothing is stuck in it."""
    with claim_redis("interop-claim") as client:
        yield client.get("interop-claim").decode()
        keys = set(client.keys()) - {b"interop-claim"}
        lasting = {key for key in keys if client.ttl(key) == -1 and not key.startswith(b"_kombu.binding")}
        contents = {key: client.dump(key) for key in lasting}
    assert not lasting, contents


def _running(fleet: Fleet) -> Iterator[Fleet]:
    fleet.start("ours", "ours", "ours", "both", "news-ours", "shop-ours")
    fleet.start("theirs", "theirs", "theirs", "both", "leaving", "news-theirs", "shop-theirs")
    try:
        fleet.wait_ready("ours")
        fleet.wait_ready("theirs")
        yield fleet
    finally:
        fleet.stop()


@pytest.fixture(scope="session")
def redis_fleet(own_redis: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Workers on Redis with their results there."""
    yield from _running(Fleet(own_redis, own_redis, tmp_path_factory.mktemp("redis"), visibility=3.0))


@pytest.fixture(scope="session")
def rabbitmq_fleet(amqp_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Workers on RabbitMQ with results as replies; all queues are empty in the end, and deleted."""
    fleet = Fleet(amqp_url, "rpc://", tmp_path_factory.mktemp("rabbitmq"))
    yield from _running(fleet)
    app = PROGRAM["interop_theirs"].make(amqp_url, "rpc://", fleet.prefix, "theirs", set_as_current=False)
    left = {}
    with contextlib.closing(app.connection_for_write()) as connection:
        channel = connection.default_channel
        for queue in app.conf.task_queues:
            queue(channel).declare()
            left[queue.name] = channel.queue_declare(queue.name, passive=True).message_count
            channel.queue_delete(queue.name)
        for name in ("news", "shop"):
            channel.exchange_delete(fleet.queue(name))
    app.close()
    assert not any(left.values()), left


@pytest.fixture(scope="session", params=["redis", "rabbitmq"])
def fleet(request: pytest.FixtureRequest) -> Fleet:
    """The workers on each broker in turn."""
    found: Fleet = request.getfixturevalue(f"{request.param}_fleet")
    return found


@pytest.fixture(scope="session", params=["celery", "umbel"], ids=["celery-to-umbel", "umbel-to-celery"])
def pair(request: pytest.FixtureRequest, fleet: Fleet) -> Iterator[Pair]:
    """A client of each kind in turn, whose tasks go to workers of the other kind."""
    made = Pair(fleet, request.param)
    yield made
    made.app.close()


@pytest.fixture(scope="session")
def clients(fleet: Fleet) -> Iterator[dict[str, Pair]]:
    """A client of each kind."""
    made = {kind: Pair(fleet, kind) for kind in ("celery", "umbel")}
    yield made
    for each in made.values():
        each.app.close()


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., Any]:
    """Waits until something is true."""
    return until
