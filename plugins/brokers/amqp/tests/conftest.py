"""Proxies, queues, a server of one's own, and workers in processes of their own."""

from __future__ import annotations

import importlib
import os
import shutil
import socket
import subprocess
import sys
import textwrap
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from umbel_broker_amqp import AmqpBroker
from umbel_kernel.spi.topology import Queue
from umbel_kernel.url import URL


class Proxy:
    """Stands between a broker and the server, and cuts or freezes what goes through."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.sockets: list[socket.socket] = []
        self.frozen = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for each in self.sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self.sockets.clear()

    def close(self) -> None:
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                inner = self._listening.accept()[0]
            except OSError:
                return
            outer = socket.create_connection(self._to)
            self.sockets += [inner, outer]
            for source, target in ((inner, outer), (outer, inner)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if self.frozen.is_set():
                    continue
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


@pytest.fixture
def proxies(amqp_url: str) -> Iterator[Callable[[], Proxy]]:
    """Makes proxies to the server."""
    parts = urlsplit(amqp_url)
    made: list[Proxy] = []

    def make() -> Proxy:
        made.append(Proxy(parts.hostname or "127.0.0.1", parts.port or 5672))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def proxy(proxies: Callable[[], Proxy]) -> Proxy:
    """A proxy to the server."""
    return proxies()


@pytest.fixture
def broker(proxy: Proxy) -> Iterator[AmqpBroker]:
    """A broker behind the proxy."""
    found = AmqpBroker(URL.parse(f"amqp://guest:guest@127.0.0.1:{proxy.port}//"), {"read_timeout": 1.0})
    found.connect(timeout=5)
    yield found
    found.close()


@pytest.fixture
def queue(amqp_url: str) -> Iterator[Queue]:
    direct = AmqpBroker(URL.parse(amqp_url))
    found = Queue(f"faults-{uuid.uuid4().hex}")
    direct.declare([found])
    yield found
    direct.delete([found.name])
    direct.close()


def _load(name: str) -> ModuleType:
    sys.path.insert(0, str(Path(__file__).parent))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(Path(__file__).parent))


@pytest.fixture(scope="session")
def rabbits() -> Any:
    """The module that makes servers; the test is skipped where RabbitMQ is not installed."""
    module = _load("rabbit")
    if not module.BIN.exists() or shutil.which("epmd") is None:
        said = f"RabbitMQ is not installed in {module.BIN}"
        if "rabbitmq" in os.environ.get("UMBEL_REQUIRE_SERVICES", "").split(","):
            pytest.fail(said)
        pytest.skip(said)
    return module


@pytest.fixture(scope="module")
def rabbit(rabbits: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that the tests of a module may stop, fill and start again."""
    folder = tmp_path_factory.mktemp("rabbit")
    made = rabbits.Rabbit(folder, "{channel_tick_interval, 500}")
    try:
        made.start()
        yield made
    finally:
        made.close()


MODULE = """
    import os, time
    from umbel import Umbel

    app = Umbel("site", broker={broker!r}, backend={backend!r})
    app.conf.update(task_default_queue={queue!r}, broker_connection_timeout=2.0)
    app.conf.update(**{settings!r})
    NOTES = os.open({folder!r} + "/notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    @app.task(name="note")
    def note(number, seconds=0.0, spin=False):
        os.write(NOTES, b"begin %d %d\\n" % (number, os.getpid()))
        end = time.monotonic() + seconds
        while spin and time.monotonic() < end:
            pass
        time.sleep(max(0.0, end - time.monotonic()))
        os.write(NOTES, b"%d %.3f\\n" % (number, time.time()))
        return number
"""


class Site:
    """An app, workers of it in processes of their own, and a client."""

    def __init__(self, folder: Path, broker: Any, client: str = "", **settings: Any) -> None:
        umbel = pytest.importorskip("umbel")
        self.folder = folder
        self.queue = f"site-{uuid.uuid4().hex}"
        self.backend = settings.pop("result_backend", None)
        fields = {"broker": broker, "backend": self.backend, "queue": self.queue, "settings": settings}
        (folder / "site_app.py").write_text(textwrap.dedent(MODULE).format(folder=str(folder), **fields))
        self.app = umbel.Umbel("client", broker=client or broker, backend=self.backend, set_as_current=False)
        self.app.conf.update(task_default_queue=self.queue, **settings)
        self.workers: list[subprocess.Popen[bytes]] = []

    def work(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a worker."""
        command = [sys.executable, "-m", "umbel", "-q", "-A", "site_app", "worker", "-l", "INFO", *words]
        with open(self.folder / f"log{len(self.workers)}", "wb") as log:
            self.workers.append(subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log))
        return self.workers[-1]

    def send(self, *numbers: int, seconds: float = 0.0, spin: bool = False, **options: Any) -> list[Any]:
        """Send tasks."""
        return [self.app.send_task("note", (number, seconds, spin), **options) for number in numbers]

    def _lines(self) -> list[list[str]]:
        path = self.folder / "notes"
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []

    def begun(self) -> Counter[int]:
        """How often each task began."""
        return Counter(int(line[1]) for line in self._lines() if line[0] == "begin")

    def done(self) -> Counter[int]:
        """How often each task ended."""
        return Counter(int(line[0]) for line in self._lines() if line[0] != "begin")

    def ended(self) -> dict[int, float]:
        """When each task last ended."""
        return {int(line[0]): float(line[1]) for line in self._lines() if line[0] != "begin"}

    def log(self, number: int = 0) -> list[str]:
        """What a worker said."""
        return (self.folder / f"log{number}").read_text().splitlines()

    def cpu(self) -> float:
        """Seconds of processor time that the workers and their children have used."""
        found = [psutil.Process(worker.pid) for worker in self.workers]
        found += [child for each in found for child in each.children(recursive=True)]
        return sum(sum(each.cpu_times()[:2]) for each in found)

    def wait(self, holds: Callable[[], Any], what: str, seconds: float = 30.0) -> float:
        """Wait until something is true; returns the seconds that it took."""
        began = time.monotonic()
        while not holds():
            said = [line for number in range(len(self.workers)) for line in self.log(number)[-20:]]
            assert time.monotonic() - began < seconds, "\n".join([f"{what} did not happen: {self.done()}", *said])
            time.sleep(0.02)
        return time.monotonic() - began

    def wait_ready(self, number: int = 0) -> None:
        """Wait until a worker is consuming."""
        self.wait(lambda: any("ready." in line for line in self.log(number)), "readiness")

    def close(self) -> None:
        """End it all."""
        for worker in self.workers:
            if worker.poll() is None:
                for child in psutil.Process(worker.pid).children(recursive=True):
                    child.kill()
                worker.kill()
            worker.wait()
        self.app.close()


@pytest.fixture
def direct(amqp_url: str) -> Iterator[AmqpBroker]:
    """A broker on the server that all tests share."""
    made = AmqpBroker(URL.parse(amqp_url))
    yield made
    made.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """Makes a site, whose workers are killed in the end."""
    made: list[Site] = []

    def make(broker: Any, client: str = "", **settings: Any) -> Site:
        made.append(Site(tmp_path, broker, client, **settings))
        return made[-1]

    yield make
    for each in made:
        each.close()
