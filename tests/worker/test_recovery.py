"""A broker that goes away and comes back: the worker goes on, loses nothing, says little and waits idly."""

from __future__ import annotations

import select
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from umbel import Umbel
from umbel.model.ids import uuid

MODULE = """
    import asyncio
    import sys
    import time
    from umbel import Umbel

    app = Umbel("back", broker="{broker}", backend="{backend}")
    app.conf.update(
        task_acks_late=True, task_default_queue="{queue}", broker_connection_timeout=1.0,
        broker_transport_options={options},
    )

    def noted(number):
        with open("{folder}/notes", "a") as file:
            print(number, file=file)
        return number

    def note_plainly(number, seconds=0.0):
        time.sleep(seconds)
        return noted(number)

    async def note_async(number, seconds=0.0):
        await asyncio.sleep(seconds)
        return noted(number)

    app.task(name="note")(note_async if "asyncio" in sys.argv else note_plainly)
"""


POOLS = ["prefork", *(pytest.param(pool, marks=pytest.mark.slow) for pool in ("solo", "asyncio", "gevent", "eventlet"))]


class Proxy:
    """A TCP proxy that can stop forwarding without a word, or cut its connections."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._flows = threading.Event()
        self._flows.set()
        self._refuses = False
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            if self._refuses:
                near.close()
                continue
            far = socket.create_connection(("127.0.0.1", self._target))
            self._pairs.append((near, far))
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while True:
                select.select([one], [], [])
                self._flows.wait()
                data = one.recv(65536)
                if not data:
                    break
                other.sendall(data)
        except (OSError, ValueError):
            pass  # cut: the other end is told below
        for each in (one, other):
            each.close()

    def freeze(self) -> None:
        """Forward nothing any more; connections stay open."""
        self._flows.clear()

    def thaw(self) -> None:
        """Forward again."""
        self._flows.set()

    def cut(self) -> None:
        """Reset every connection and refuse new ones."""
        self._refuses = True
        for near, far in self._pairs:
            for each in (near, far):
                with_linger = b"\x01\x00\x00\x00\x00\x00\x00\x00"
                try:
                    each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, with_linger)
                    each.shutdown(socket.SHUT_RDWR)
                    each.close()
                except OSError:
                    continue  # it is closed
        self._pairs.clear()

    def mend(self) -> None:
        """Take connections again."""
        self._refuses = False

    def close(self) -> None:
        """End."""
        self.cut()
        self._flows.set()
        self._listener.close()


class Place:
    """An app on a broker, a worker of it, and a client that reaches the broker by its own way."""

    def __init__(self, folder: Path, broker: str, client: str, pool: str, **options: Any) -> None:
        self.folder = folder
        self.queue = f"test-{uuid()}"
        self.backend = f"sqlite:///{folder}/results.db"
        text = MODULE.format(broker=broker, backend=self.backend, queue=self.queue, options=options, folder=folder)
        (folder / "back.py").write_text(textwrap.dedent(text))
        self.app = Umbel("client", broker=client, backend=self.backend, set_as_current=False)
        self.app.conf.task_default_queue = self.queue
        command = [sys.executable, "-m", "umbel", "-q", "-A", "back", "worker", "-c", "2", "-P", pool, "-l", "WARNING"]
        with open(folder / "log", "ab") as log:
            self.worker = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)

    def send(self, *numbers: int, seconds: float = 0.0) -> list[Any]:
        """Send tasks."""
        return [self.app.send_task("note", (number, seconds)) for number in numbers]

    def notes(self) -> Counter[int]:
        """How often each task ran."""
        path = self.folder / "notes"
        return Counter(map(int, path.read_text().split())) if path.exists() else Counter()

    def log(self) -> list[str]:
        """What the worker said."""
        return (self.folder / "log").read_text().splitlines()

    def cpu(self) -> float:
        """Seconds of processor time that the worker and its children have used."""
        process = psutil.Process(self.worker.pid)
        return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True)))

    def wait(self, done: Callable[[], Any], what: str, seconds: float = 15) -> float:
        """Wait for a condition; returns the seconds that it took."""
        before = time.monotonic()
        while not done():
            said = "\n".join(self.log()[-40:])
            assert time.monotonic() - before < seconds, f"{what} did not happen: {self.notes()}\n{said}"
            time.sleep(0.01)
        return time.monotonic() - before

    def idle_for(self, seconds: float) -> None:
        """Wait, and see that the worker uses next to nothing and says little."""
        cpu, lines = self.cpu(), len(self.log())
        time.sleep(seconds)
        assert (self.cpu() - cpu) / seconds < 0.1
        assert len(self.log()) - lines < 6 + 6 * seconds

    def close(self) -> None:
        """End it all."""
        if self.worker.poll() is None:
            for child in psutil.Process(self.worker.pid).children(recursive=True):
                child.kill()
            self.worker.kill()
        self.worker.wait()
        self.app.close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Callable[..., Place]]:
    """Makes a place, whose worker is killed in the end."""
    made: list[Place] = []

    def make(broker: str, client: str, pool: str, **options: Any) -> Place:
        made.append(Place(tmp_path, broker, client, pool, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def redis(start_redis: Callable[..., Any]) -> Any:
    """A Redis server that keeps what it is told."""
    return start_redis("--appendonly", "yes", "--appendfsync", "always")


def _proxied(port: int) -> Iterator[Proxy]:
    made = Proxy(port)
    yield made
    made.close()


@pytest.fixture
def redis_proxy(redis: Any) -> Iterator[Proxy]:
    yield from _proxied(redis.port)


@pytest.fixture
def amqp_proxy(amqp_url: str) -> Iterator[Proxy]:
    yield from _proxied(int(amqp_url.rsplit(":", 1)[1].split("/")[0]))


@pytest.mark.parametrize(
    ("number", "pool"),
    [
        (signal.SIGKILL, "prefork"),
        pytest.param(signal.SIGTERM, "prefork", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, "solo", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "threads", marks=pytest.mark.slow),
        pytest.param(signal.SIGKILL, "gevent", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, "eventlet", marks=pytest.mark.slow),
    ],
)
def test_a_server_that_is_started_anew(redis: Any, place: Any, number: int, pool: str, record_property: Any) -> None:
    url = redis.url
    made = place(url, url, pool, lease=2)
    made.send(1)
    made.wait(lambda: made.notes()[1], "the first task")
    running = made.send(2, seconds=1.5)
    prefetched = made.send(*range(10, 20), seconds=0.1)
    queue = [made.queue]
    made.wait(lambda: made.app.connections.broker().size(queue)[made.queue] <= 5, "the start")
    redis.stop(number)
    made.idle_for(2)
    # It ended while the broker was away, and its result is there.
    assert running[0].get(timeout=1) == 2
    redis.start()
    sent = made.send(3)
    took = made.wait(lambda: made.notes()[3], "the task sent afterwards")
    record_property("recovery", took)
    print(f"recovery {took:.2f} s")
    assert took < 5
    made.wait(lambda: all(made.notes()[n] for n in range(10, 20)), "the tasks that were held")
    assert [result.get(timeout=5) for result in (*sent, *prefetched)] == [3, *range(10, 20)]
    time.sleep(0.3)
    assert made.notes()[2] == 1


@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("broker", ["redis", "amqp"])
def test_a_connection_that_is_cut(broker: str, pool: str, request: Any, place: Any) -> None:
    proxy = request.getfixturevalue(f"{broker}_proxy")
    if broker == "redis":
        client = request.getfixturevalue("redis").url
        url = f"redis://127.0.0.1:{proxy.port}/0"
    else:
        client = request.getfixturevalue("amqp_url")
        url = f"amqp://guest:guest@127.0.0.1:{proxy.port}//"
    made = place(url, client, pool, **({"lease": 2} if broker == "redis" else {}))
    made.send(1)
    made.wait(lambda: made.notes()[1], "the first task")
    (long,) = made.send(2, seconds=1.0)
    time.sleep(0.4)
    proxy.cut()
    made.idle_for(1.5)
    assert long.get(timeout=1) == 2
    assert any("Connection to broker lost" in line for line in made.log()), made.log()
    proxy.mend()
    made.send(3)
    took = made.wait(lambda: made.notes()[3], "the task sent afterwards")
    print(f"recovery {took:.2f} s")
    assert took < 5
    if broker == "redis":
        time.sleep(3)  # more than a lease: the task that ran across the cut would come again now
    assert made.notes() == {1: 1, 2: 1, 3: 1}
    if broker == "amqp":
        made.app.connections.broker().delete([made.queue])


@pytest.mark.parametrize("pool", POOLS)
def test_a_connection_that_falls_silent(redis: Any, redis_proxy: Proxy, place: Any, pool: str) -> None:
    client = redis.url
    made = place(f"redis://127.0.0.1:{redis_proxy.port}/0", client, pool, lease=4, socket_timeout=1)
    made.send(1)
    made.wait(lambda: made.notes()[1], "the first task")
    redis_proxy.freeze()
    made.send(2)
    made.idle_for(4)
    assert made.notes()[2] == 0
    redis_proxy.thaw()
    took = made.wait(lambda: made.notes()[2], "the task sent meanwhile")
    print(f"recovery {took:.2f} s")
    made.send(3)
    made.wait(lambda: made.notes()[3], "the task sent afterwards", 5)
    assert took < 5


def test_an_end_while_the_broker_is_away_waits_for_what_runs(redis: Any, place: Any) -> None:
    url = redis.url
    made = place(url, url, "prefork")
    (long,) = made.send(1, seconds=2.0)
    made.wait(lambda: made.app.connections.broker().size([made.queue])[made.queue] == 0, "the start")
    time.sleep(0.3)
    redis.stop()
    made.wait(lambda: any("Connection to broker lost" in line for line in made.log()), "the loss")
    made.worker.send_signal(signal.SIGTERM)
    assert made.worker.wait(timeout=10) == 0, made.log()
    assert long.get(timeout=1) == 1


@pytest.mark.parametrize(
    "broker", ["redis", pytest.param("sqlite", marks=pytest.mark.slow), pytest.param("amqp", marks=pytest.mark.slow)]
)
def test_a_worker_that_holds_all_it_may_waits_idly(broker: str, request: Any, tmp_path: Path, place: Any) -> None:
    url = f"sqlite:///{tmp_path}/tasks.db" if broker == "sqlite" else request.getfixturevalue(f"{broker}_url")
    made = place(url, url, "solo")
    made.send(1)
    made.wait(lambda: made.notes()[1], "the first task")
    made.send(*range(2, 22), seconds=30)
    made.wait(lambda: made.app.connections.broker().size([made.queue])[made.queue] <= 17, "the start")
    time.sleep(1.2)  # the Redis consumer looks at its queues every second
    made.idle_for(1.5)
    made.app.connections.broker().delete([made.queue])
