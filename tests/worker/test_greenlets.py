"""Workers whose tasks run in greenlets, on real brokers."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel
from umbel.model.exceptions import SoftTimeLimitExceeded, TaskRevokedError, TimeLimitExceeded, WorkerLostError
from umbel.model.ids import uuid

MODULE = """
    import asyncio
    import os
    import time
    from umbel import Umbel
    from umbel.exceptions import SoftTimeLimitExceeded

    app = Umbel("green", broker="{broker}", backend="sqlite:///{folder}/results.db")
    app.conf.update(task_default_queue="{queue}", broker_transport_options={options})
    NOTES = os.open("{folder}/notes", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    @app.task(name="nap", ignore_result=True)
    def nap(number, seconds):
        began = time.monotonic()
        time.sleep(seconds)
        os.write(NOTES, f"{{number}} {{began}} {{time.monotonic()}}\\n".encode())

    app.task(name="late", acks_late=True, ignore_result=True)(nap.run)

    @app.task(name="doze")
    async def doze(seconds):
        began = time.monotonic()
        try:
            await asyncio.sleep(seconds)
        except SoftTimeLimitExceeded:
            return "tidied up"
        return [began, time.monotonic()]

    @app.task(name="leave")
    async def leave():
        raise SystemExit(3)

    @app.task(name="block")
    def block(seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            pass
"""

POOLS = ["gevent", pytest.param("eventlet", marks=pytest.mark.slow)]
BROKERS = ["redis", "amqp"]
REDIS_FIRST = ["redis", pytest.param("amqp", marks=pytest.mark.slow)]
AMQP_FIRST = ["amqp", pytest.param("redis", marks=pytest.mark.slow)]  # on Redis a lease has to run out


class Place:
    """An app on a broker, and its workers."""

    def __init__(self, folder: Path, broker: str) -> None:
        self.folder = folder
        self.queue = f"test-{uuid()}"
        # A worker that is killed gives back by its lease.
        options = {"lease": 2} if broker.startswith("redis") else {}
        text = MODULE.format(broker=broker, queue=self.queue, folder=folder, options=options)
        (folder / "green.py").write_text(textwrap.dedent(text))
        self.app = Umbel("client", broker=broker, backend=f"sqlite:///{folder}/results.db", set_as_current=False)
        self.app.conf.task_default_queue = self.queue
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a worker."""
        command = [sys.executable, "-m", "umbel", "-q", "-A", "green", "worker", "-l", "WARNING", *words]
        with open(self.folder / "log", "ab") as log:
            self.workers.append(subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log))
        return self.workers[-1]

    def send(self, name: str, count: int, seconds: float) -> None:
        """Send so many tasks."""
        self.app.send_many([(name, (number, seconds), {}, {"ignore_result": True}) for number in range(count)])

    def notes(self) -> list[tuple[int, float, float]]:
        """What ran: its number, and when it began and ended."""
        path = self.folder / "notes"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(int(number), float(began), float(ended)) for number, began, ended in map(str.split, lines)]

    def log(self) -> str:
        """What the workers said."""
        return (self.folder / "log").read_text()

    def wait(self, done: Callable[[], Any], what: str, seconds: float = 30) -> None:
        """Wait for a condition."""
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, f"{what} did not happen; {len(self.notes())} ran; {self.log()[-3000:]}"
            time.sleep(0.01)

    def close(self) -> None:
        """End it all."""
        for worker in self.workers:
            if worker.poll() is None:
                worker.kill()
            worker.wait()
        self.app.connections.broker().delete([self.queue])
        self.app.close()


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path, broker: str) -> Iterator[Place]:
    made = Place(tmp_path, request.getfixturevalue(f"{broker}_url"))
    yield made
    made.close()


@pytest.mark.parametrize("broker", REDIS_FIRST)
@pytest.mark.parametrize("pool", POOLS)
def test_a_thousand_sleeping_tasks_overlap(place: Place, pool: str) -> None:
    pytest.importorskip(pool)
    place.send("nap", 1000, 0.1)
    worker = place.start("-P", pool, "-c", "100")
    place.wait(lambda: len(place.notes()) >= 1000, "the tasks")
    notes = place.notes()
    assert sorted(number for number, _, _ in notes) == list(range(1000))
    # Ends before beginnings, so that two which follow one another do not count as two at once.
    moments = sorted([(began, 1) for _, began, _ in notes] + [(ended, -1) for _, _, ended in notes])
    at_once = most = 0
    for _, change in moments:
        at_once += change
        most = max(most, at_once)
    assert most == 100
    span = max(ended for _, _, ended in notes) - min(began for _, began, _ in notes)
    assert span < 1000 * 0.1 / 10, "on the whole, fewer than ten ran at once"
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=20) == 0
    assert "Traceback" not in place.log()


@pytest.mark.parametrize("broker", AMQP_FIRST)
@pytest.mark.parametrize("pool", POOLS)
def test_a_killed_worker_loses_nothing(place: Place, pool: str) -> None:
    pytest.importorskip(pool)
    place.send("late", 400, 0.05)
    worker = place.start("-P", pool, "-c", "20", "-n", "one@test")
    place.wait(lambda: len(place.notes()) >= 60, "the first tasks")
    worker.kill()
    worker.wait()
    assert len(place.notes()) < 400
    place.start("-P", pool, "-c", "20", "-n", "two@test")
    place.wait(lambda: len({number for number, _, _ in place.notes()}) == 400, "all tasks")
    # What ran when it was killed had noted nothing; what was noted and not settled runs again.
    assert len(place.notes()) < 400 + 60


@pytest.mark.slow
@pytest.mark.parametrize("broker", ["redis"])
@pytest.mark.parametrize("pool", POOLS)
def test_a_task_that_blocks_the_hub_is_named_in_the_log(place: Place, pool: str) -> None:
    pytest.importorskip(pool)
    place.start("-P", pool, "-c", "10", f"{pool}_stall=0.5")
    result = place.app.send_task("block", (2,))
    assert result.get(timeout=30) is None
    assert f"task block[{result.id}] has held up the {pool} hub for" in place.log()
    place.wait(lambda: f"the {pool} hub goes on; task block[{result.id}] has held it up" in place.log(), "the end")


@pytest.fixture
def app_here(app_on_sqlite: Any) -> Any:
    """An app with tasks for a worker in this process, which was patched first of all."""
    app = app_on_sqlite
    app.conf.worker_enable_remote_control = True

    @app.task(name="long", track_started=True)
    def long() -> None:
        time.sleep(60)

    @app.task(name="leave")
    def leave(code: Any) -> None:
        raise SystemExit(code)

    @app.task(name="odd")
    def odd() -> None:
        raise BaseException("odd")

    @app.task(name="echo")
    def echo(value: int) -> int:
        return value

    return app


@pytest.mark.parametrize("pool", POOLS)
def test_revoke_with_terminate_ends_a_task(app_here: Any, running: Any, pool: str) -> None:
    worker = running(app_here, pool=pool, concurrency=3)
    results = [app_here.send_task("long") for _ in range(3)]
    end = time.monotonic() + 20
    while any(result.state != "STARTED" for result in results) and time.monotonic() < end:
        time.sleep(0.01)
    app_here.control.revoke(results[1].id, terminate=True, signal="SIGTERM")
    with pytest.raises(TaskRevokedError, match="terminated"):
        results[1].get(timeout=20)
    assert app_here.send_task("echo", (5,)).get(timeout=20) == 5
    assert worker.context.pool.info()["busy"] == 2
    for result in (results[0], results[2]):
        app_here.control.revoke(result.id, terminate=True)
    for result in (results[0], results[2]):
        with pytest.raises(TaskRevokedError):
            result.get(timeout=20)


@pytest.mark.parametrize("pool", POOLS)
def test_whatever_a_task_raises_its_caller_is_told(app_here: Any, running: Any, pool: str) -> None:
    running(app_here, pool=pool, concurrency=2)
    for name, args in (("leave", (3,)), ("leave", (None,)), ("odd", ())):
        with pytest.raises(BaseException) as caught:
            app_here.send_task(name, args).get(timeout=20)
        assert not isinstance(caught.value, TimeoutError), "no result came"
    assert app_here.send_task("echo", (5,)).get(timeout=20) == 5


@pytest.mark.slow
@pytest.mark.parametrize("broker", BROKERS)
@pytest.mark.parametrize("pool", POOLS)
def test_limits_in_the_middle_of_an_exchange_confuse_nobody(
    running: Any, pool: str, broker: str, request: pytest.FixtureRequest, redis_url: str
) -> None:
    """Tasks that send others share a connection; a limit strikes some of them while they wait for the server."""
    queue = f"test-{uuid()}"
    app = Umbel("busy", broker=request.getfixturevalue(f"{broker}_url"), backend=redis_url, set_as_current=False)
    app.conf.task_default_queue = queue

    @app.task(name="echo")
    def echo(value: int) -> int:
        return value

    @app.task(name="chatty")
    def chatty(value: int, times: int) -> int:
        for number in range(times):
            sent = echo.apply_async((value * 1000 + number,))
            assert sent.state in ("PENDING", "SUCCESS")
        return value

    try:
        running(app, pool=pool, concurrency=20)
        limited = [
            app.send_task("chatty", (n, 500), soft_time_limit=0.02 + n % 7 * 0.01, time_limit=0.15) for n in range(30)
        ]
        fine = [app.send_task("chatty", (n, 5)) for n in range(100, 120)]
        for result in limited:
            with pytest.raises((SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError)):
                result.get(timeout=60)
        assert [result.get(timeout=60) for result in fine] == list(range(100, 120))
        after = [app.send_task("echo", (n,)) for n in range(50)]
        assert [result.get(timeout=60) for result in after] == list(range(50))
    finally:
        app.connections.broker().purge([queue])
        app.connections.broker().delete([queue])
        app.close()


@pytest.mark.parametrize("broker", ["amqp"])
@pytest.mark.parametrize("pool", POOLS)
def test_coroutines_run_side_by_side_in_one_event_loop(place: Place, pool: str) -> None:
    pytest.importorskip(pool)
    place.start("-P", pool, "-c", "20")
    naps = [place.app.send_task("doze", (0.5,)) for _ in range(10)]
    place.wait(lambda: all(nap.ready() for nap in naps), "the coroutines")
    begun, ended = zip(*(nap.get(timeout=30) for nap in naps), strict=True)
    assert max(begun) < min(ended), "they did not overlap"
    assert place.app.send_task("doze", (60,), soft_time_limit=0.2).get(timeout=30) == "tidied up"
    with pytest.raises(TimeLimitExceeded):
        place.app.send_task("doze", (60,), time_limit=0.2).get(timeout=30)
    left = place.app.send_task("leave")
    with pytest.raises(Exception, match="3") as caught:
        left.get(timeout=30)
    assert type(caught.value).__name__ == "SystemExit"
    assert len(place.app.send_task("doze", (0.01,)).get(timeout=30)) == 2
