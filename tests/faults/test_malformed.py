"""Messages that nobody should have sent, put straight into the queue of a real worker: see benchmarks/faults/kinds.py.

Each kind comes between good messages. The worker's process goes on, the good ones run once, and of the others each
ends as its kind says; its log stays short.
"""

from __future__ import annotations

import contextlib
import importlib.util
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import amqp
import pytest
import redis

from umbel import Umbel
from umbel.model.ids import uuid
from umbel_kernel.spi.message import Delivery, Message

MODULE = """
    import os
    from umbel import Umbel

    app = Umbel("malformed", broker={broker!r}, backend={backend!r})
    app.conf.task_default_queue = {queue!r}
    app.conf.worker_dead_letter_queue = {dead!r}
    app.conf.worker_max_message_size = {limit}
    LEDGER = os.open({ledger!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    @app.task(bind=True, name="faults.note", ignore_result=True)
    def note(self):
        os.write(LEDGER, self.request.id.encode() + b"\\n")

    @app.task(name="faults.answer")
    def answer(value=None):
        return value
"""

BEFORE, BEHIND = 1, 2
PATIENCE = 30.0
LONGEST_LINE = 6_000
MOST_LINES = 12
"""Lines of the log a message."""


def _load() -> Any:
    path = Path(__file__).parents[2] / "benchmarks" / "faults" / "kinds.py"
    spec = importlib.util.spec_from_file_location("malformed_kinds", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


kinds = _load()
Fate = kinds.Fate


class Bench:
    """A worker in a process of its own, its queue, and what is to be seen of it from outside."""

    def __init__(self, folder: Path, broker: str, backend: str, limit: int) -> None:
        self.folder, self.name = folder, urlsplit(broker).scheme
        self.queue = f"test-{uuid()}"
        self.dead = f"{self.queue}.dead"
        self.ledger = folder / "ledger"
        self.log = folder / "log"
        text = MODULE.format(
            broker=broker, backend=backend, queue=self.queue, dead=self.dead, ledger=str(self.ledger), limit=limit
        )
        (folder / "malformed_app.py").write_text(textwrap.dedent(text))
        self.app = Umbel("looks", broker=broker, backend=backend, set_as_current=False)
        self.app.conf.task_default_queue = self.queue
        self.broker = self.app.connections.broker()
        self.broker.declare([self.app.queues[self.queue], self.app.queues[self.dead]])
        self.letters = self.app.connections.connect().consumer([self.app.queues[self.dead]])
        self.redis = redis.Redis.from_url(broker) if self.name == "redis" else None
        self.connection = self._open_amqp(broker) if self.name == "amqp" else None
        self.channel = self.connection.channel() if self.connection is not None else None
        self.worker: subprocess.Popen[bytes] | None = None

    def _open_amqp(self, url: str) -> Any:
        parts = urlsplit(url)
        host = f"{parts.hostname}:{parts.port or 5672}"
        connection = amqp.Connection(host, parts.username or "guest", parts.password or "guest", virtual_host="/")
        connection.connect()
        return connection

    def start(self, pool: str) -> None:
        command = [
            sys.executable,
            "-m",
            "umbel",
            "-A",
            "malformed_app",
            "worker",
            "-l",
            "WARNING",
            "-P",
            pool,
            "-c",
            "2",
        ]
        with open(self.log, "ab") as log:
            self.worker = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)

    def put(self, put: Any) -> None:
        """Put a message into the queue, past umbel where there is a way past it."""
        if self.redis is not None:
            self.redis.lpush(self.queue, put.on_redis(self.queue))
        elif self.channel is not None:
            self.channel.basic_publish(amqp.Message(put.body, **put.on_amqp()), "", self.queue)
        else:
            more = {name: put.properties.get(name) for name in ("reply_to", "priority")}
            self.broker.publish(
                [
                    Message(
                        put.body,
                        self.queue,
                        content_type=put.content_type,
                        content_encoding=put.content_encoding,
                        headers=put.headers or {},
                        correlation_id=put.task_id,
                        **more,
                    )
                ]
            )

    def ran(self) -> Counter[str]:
        """How often each task has written down that it ran."""
        return Counter(self.ledger.read_text().split()) if self.ledger.exists() else Counter()

    def alive(self) -> bool:
        return self.worker is not None and self.worker.poll() is None

    def wait(self, until: Callable[[], object], said: str) -> None:
        end = time.monotonic() + PATIENCE
        while not until():
            assert self.alive(), f"{said}: the worker has ended\n{self.tail()}"
            assert time.monotonic() < end, f"{said}: does not come\n{self.tail()}"
            time.sleep(0.005)

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-6000:]

    def buried(self, count: int, said: str) -> list[Delivery]:
        """So many messages out of the dead-letter queue."""
        found: list[Delivery] = []
        end = time.monotonic() + PATIENCE
        while len(found) < count and time.monotonic() < end and self.alive():
            more = self.letters.receive(100, 0.1)
            self.letters.ack(more)
            found += more
        reasons = [str(each.headers.get("umbel-dead-reason"))[:150] for each in found]
        assert len(found) == count, f"{said}: {len(found)} of {count} are dead letters: {reasons}\n{self.tail()}"
        return found

    def stop(self) -> int:
        assert self.worker is not None
        self.worker.send_signal(signal.SIGTERM)
        return self.worker.wait(timeout=20)

    def close(self) -> None:
        if self.worker is not None and self.worker.poll() is None:
            self.worker.kill()
            self.worker.wait()
        with contextlib.suppress(Exception):
            self.letters.close()
        self.broker.delete([self.queue, self.dead])
        self.app.close()
        if self.redis is not None:
            self.redis.close()
        if self.connection is not None:
            self.connection.close()


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Bench]]:
    """``bench("redis")`` makes a queue on that broker; a worker is started by ``start``."""
    with contextlib.ExitStack() as stack:

        def make(broker: str, limit: int = 64 * 1024 * 1024) -> Bench:
            if broker == "sqlite":
                url = backend = f"sqlite:///{tmp_path}/umbel.db"
            else:
                url, backend = request.getfixturevalue(f"{broker}_url"), request.getfixturevalue("redis_url")
            made = Bench(tmp_path, url, backend, limit)
            stack.callback(made.close)
            return made

        yield make


def _try_kind(bench: Bench, kind: Any) -> int:
    """Put a kind between good messages and see what comes of each. Returns how many messages it had."""
    puts = kind.on(bench.name)
    before, behind = [kinds.good() for _ in range(BEFORE)], [kinds.good() for _ in range(BEHIND)]
    good = [put.task_id for put in (*before, *behind)]
    for put in (*before, *puts, *behind):
        bench.put(put)
    bench.wait(lambda: bench.ran().keys() >= set(good), f"{kind.name}: the good ones")
    dead = [put for put in puts if put.fate in (Fate.DEAD, Fate.FOLLOWED)]
    letters = bench.buried(len(dead), kind.name)
    for letter in letters:
        reason = letter.headers["umbel-dead-reason"]
        assert len(reason) > 20 and len(reason) <= 4096, f"{kind.name}: {reason!r}"
        assert letter.headers["umbel-dead-queue"] == bench.queue
    bodies = Counter(letter.body for letter in letters)
    for put in dead:
        # Of an entry that is half an envelope the body is what was in it, or all of it; which is the reader's to say.
        if put.fate is Fate.DEAD and put.entry is None:
            assert bodies[put.body], f"{kind.name}: no dead letter has the body {put.body[:100]!r}"
            bodies[put.body] -= 1
    for put in puts:
        _check_end(bench, kind, put)
    ran = bench.ran()
    assert all(ran[task_id] == 1 for task_id in good), f"{kind.name}: good ones ran twice"
    return len(puts)


def _check_end(bench: Bench, kind: Any, put: Any) -> None:
    said = f"{kind.name}: {put.headers!r:.300} {put.body[:100]!r} {(put.entry or b'')[:600]!r}"
    notes = not isinstance(put.headers, dict) or put.headers.get("task") != kinds.ANSWER
    if put.fate is Fate.DEAD:
        assert not bench.ran()[put.task_id], f"{said}: it ran"
    elif put.fate is Fate.RUNS and notes:
        bench.wait(lambda: bench.ran()[put.task_id] == 1, said)
    elif put.fate is Fate.RUNS:
        result = bench.app.AsyncResult(put.task_id)
        bench.wait(lambda: result.state in ("SUCCESS", "FAILURE"), said)
        assert result.state == "SUCCESS", f"{said}: {result.result!r}"
    elif put.fate is Fate.FAILED:
        result = bench.app.AsyncResult(put.task_id)
        bench.wait(lambda: result.state in ("SUCCESS", "FAILURE"), said)
        assert isinstance(result.result, TypeError), f"{said}: {result.result!r}"


def _check_log(bench: Bench, messages: int) -> None:
    lines = bench.log.read_text(errors="replace").splitlines()
    longest = max(lines, key=len, default="")
    assert len(longest) <= LONGEST_LINE, f"a line of {len(longest)}: {longest[:500]}"
    assert len(lines) <= MOST_LINES * messages, f"{len(lines)} lines for {messages} messages"
    assert not [line for line in lines if "Logging error" in line]


COMBINATIONS = [
    ("redis", "threads"),
    ("redis", "prefork"),
    ("amqp", "prefork"),
    ("amqp", "solo"),
    ("sqlite", "solo"),
    pytest.param("redis", "solo", marks=pytest.mark.slow),
    pytest.param("amqp", "threads", marks=pytest.mark.slow),
    pytest.param("sqlite", "threads", marks=pytest.mark.slow),
    pytest.param("sqlite", "prefork", marks=pytest.mark.slow),
]


def test_there_are_more_than_fifty_kinds_and_each_has_a_name() -> None:
    all_kinds = kinds.kinds()
    assert len({kind.name for kind in all_kinds}) == len(all_kinds)
    for broker in ("redis", "amqp", "sqlite"):
        assert sum(broker in kind.brokers for kind in all_kinds) >= 70


@pytest.mark.parametrize(("broker", "pool"), COMBINATIONS)
def test_each_ends_as_its_kind_says_and_the_worker_goes_on(bench: Callable[..., Bench], broker: str, pool: str) -> None:
    at = bench(broker)
    at.start(pool)
    messages = tried = 0
    for kind in kinds.kinds():
        if broker in kind.brokers and not kind.large:
            messages += _try_kind(at, kind) + BEFORE + BEHIND
            tried += 1
    assert tried * (BEFORE + BEHIND) >= 200
    assert at.stop() == 0, at.tail()
    assert at.broker.size([at.queue]) == {at.queue: 0}
    _check_log(at, messages)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("broker", "pool"), [("redis", "prefork"), ("redis", "solo"), ("amqp", "threads"), ("sqlite", "solo")]
)
def test_large_ones_are_limited_before_they_are_read(bench: Callable[..., Bench], broker: str, pool: str) -> None:
    at = bench(broker)
    at.start(pool)
    messages = 0
    for kind in kinds.kinds():
        if broker in kind.brokers and kind.large:
            messages += _try_kind(at, kind) + BEFORE + BEHIND
    assert messages > 10
    assert at.stop() == 0, at.tail()
    _check_log(at, messages)
