"""How workers end: by signals, at any moment, with nothing lost and nothing that had begun run twice."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from umbel import Umbel
from umbel.model.exceptions import Terminated, WorkerLostError

MODULE = """
    import asyncio
    import os
    import sys
    import time
    from umbel import Umbel

    app = Umbel("ends", broker="{broker}", backend="sqlite:///{folder}/umbel.db")
    app.conf.broker_connection_timeout = 1.0

    def note(word):
        with open("{folder}/notes", "a") as file:
            print(word, file=file)

    def nap_plainly(number, seconds):
        note(f"begin {{number}}")
        time.sleep(seconds)
        note(f"end {{number}}")
        return number

    async def nap_async(number, seconds):
        note(f"begin {{number}}")
        await asyncio.sleep(seconds)
        note(f"end {{number}}")
        return number

    nap = app.task(name="nap")(nap_async if "asyncio" in sys.argv else nap_plainly)
    app.task(name="late", acks_late=True)(nap.run)
"""


class Place:
    """A folder with an app, its workers, and what its tasks noted."""

    def __init__(self, folder: Path, broker: str | None = None) -> None:
        self.folder = folder
        self.url = f"sqlite:///{folder}/umbel.db"
        (folder / "ends.py").write_text(textwrap.dedent(MODULE.format(folder=folder, broker=broker or self.url)))
        self.app = Umbel("client", broker=broker or self.url, backend=self.url, set_as_current=False)
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a worker."""
        command = [sys.executable, "-m", "umbel", "-q", "-A", "ends", "worker", "-l", "INFO", *words]
        with open(self.folder / "log", "ab") as log:
            worker = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, env={**os.environ, **environment}
            )
        self.workers.append(worker)
        return worker

    def notes(self) -> list[str]:
        """What the tasks noted."""
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []

    def log(self) -> str:
        """What the workers said."""
        return (self.folder / "log").read_text()

    def wait(self, done: Callable[[], Any], what: str, seconds: float = 15) -> None:
        """Wait for a condition."""
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, f"{what} did not happen; {self.notes()}; {self.log()[-3000:]}"
            time.sleep(0.005)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A place whose workers are killed in the end."""
    made = Place(tmp_path)
    yield made
    for worker in made.workers:
        if worker.poll() is None:
            for child in psutil.Process(worker.pid).children(recursive=True):
                child.kill()
            worker.kill()
        worker.wait()
    made.app.close()


POOLS = ["prefork", "threads", "solo", "asyncio", "gevent", pytest.param("eventlet", marks=pytest.mark.slow)]
STARTS = ["prefork", "solo", *(pytest.param(pool, marks=pytest.mark.slow) for pool in ("gevent", "eventlet"))]


@pytest.mark.parametrize(
    ("pool", "task"),
    [
        ("prefork", "nap"),
        ("prefork", "late"),
        ("solo", "late"),
        ("asyncio", "late"),
        pytest.param("asyncio", "nap", marks=pytest.mark.slow),
        pytest.param("gevent", "late", marks=pytest.mark.slow),
        pytest.param("gevent", "nap", marks=pytest.mark.slow),
        pytest.param("eventlet", "nap", marks=pytest.mark.slow),
        pytest.param("eventlet", "late", marks=pytest.mark.slow),
        pytest.param("threads", "nap", marks=pytest.mark.slow),
        pytest.param("solo", "nap", marks=pytest.mark.slow),
        pytest.param("threads", "late", marks=pytest.mark.slow),
    ],
)
def test_a_warm_end_finishes_what_has_begun_and_gives_back_the_rest(place: Place, pool: str, task: str) -> None:
    results = [place.app.send_task(task, (number, 0.3)) for number in range(8)]
    worker = place.start("-P", pool, "-c", "2")
    size = 1 if pool == "solo" else 2
    place.wait(lambda: len(place.notes()) >= size, "the first tasks")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=10) == 0, place.log()
    counts = Counter(place.notes())
    assert len(counts) == 2 * size
    assert set(counts.values()) == {1}
    queue = place.app.conf.task_default_queue
    assert place.app.connections.broker().size([queue]) == {queue: 8 - size}
    assert sum(result.state == "SUCCESS" for result in results) == size
    place.start("-P", "threads", "-c", "8")
    assert [result.get(timeout=15) for result in results] == list(range(8))
    assert set(Counter(place.notes()).values()) == {1}


@pytest.mark.parametrize("pool", POOLS)
def test_a_second_interrupt_ends_what_runs_and_gives_back_what_is_not_acknowledged(place: Place, pool: str) -> None:
    result = place.app.send_task("late", (1, 60))
    worker = place.start("-P", pool, "-c", "1")
    place.wait(place.notes, "the task")
    worker.send_signal(signal.SIGINT)
    place.wait(lambda: "Warm shutdown" in place.log(), "the warm end")
    time.sleep(0.2)
    assert worker.poll() is None
    before = time.monotonic()
    worker.send_signal(signal.SIGINT)
    worker.wait(timeout=15)
    assert time.monotonic() - before < 4
    assert place.notes() == ["begin 1"]
    assert not result.ready()
    queue = place.app.conf.task_default_queue
    assert place.app.connections.broker().size([queue]) == {queue: 1}


@pytest.mark.parametrize("pool", [each for each in POOLS if each != "threads"])
def test_a_cold_end_tells_the_callers_of_tasks_that_nobody_runs_again(place: Place, pool: str) -> None:
    result = place.app.send_task("nap", (1, 60))
    worker = place.start("-P", pool, "-c", "1")
    place.wait(place.notes, "the task")
    time.sleep(0.1)  # for the acknowledgement
    worker.send_signal(signal.SIGQUIT)
    worker.wait(timeout=15)
    # The pool of the main thread has ended its job itself when the signal came.
    with pytest.raises((Terminated, WorkerLostError), match=r"shut down cold|interrupted in the main thread"):
        result.get(timeout=2)


@pytest.mark.parametrize("pool", STARTS)
@pytest.mark.parametrize(
    "after", [0.0, pytest.param(0.05, marks=pytest.mark.slow), pytest.param(0.15, marks=pytest.mark.slow)]
)
def test_a_signal_during_the_start_ends_the_worker_in_order(place: Place, pool: str, after: float) -> None:
    place.app.send_task("nap", (1, 0))
    worker = place.start("-P", pool, "-c", "2")
    # The handlers are there from when the process no longer dies of the signal.
    place.wait(lambda: _catches(worker.pid, signal.SIGTERM) or worker.poll() is not None, "the handlers")
    time.sleep(after)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=10) == 0, place.log()
    assert "Traceback" not in place.log()


def _catches(pid: int, number: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False
    line = next(line for line in status.splitlines() if line.startswith("SigCgt:"))
    return bool(int(line.split()[1], 16) & (1 << (number - 1)))


@pytest.mark.parametrize("pool", STARTS)
def test_a_signal_while_the_broker_is_away(tmp_path: Path, pool: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        place = Place(tmp_path, f"redis://127.0.0.1:{nobody.getsockname()[1]}/0")
        worker = place.start("-P", pool, "-c", "1")
        place.wait(lambda: "Trying again in" in place.log(), "the first attempt")
        before = time.monotonic()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=10) == 0, place.log()
        assert time.monotonic() - before < 3
        assert "Traceback" not in place.log()


@pytest.mark.parametrize("pool", ["threads", *STARTS])
def test_giving_up_on_the_broker_is_an_error(tmp_path: Path, pool: str) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        place = Place(tmp_path, f"redis://:secret@127.0.0.1:{nobody.getsockname()[1]}/0")
        worker = place.start("-P", pool, "-c", "1", "broker.connection_retry=False")
        assert worker.wait(timeout=10) == 1
        assert "Error: " in place.log()
        assert "secret" not in place.log()
        assert "Traceback" not in place.log()


def test_no_thread_or_process_is_left(place: Place) -> None:
    for number in range(20):
        place.app.send_task("nap", (number, 0.01))
    worker = place.start("-P", "prefork", "-c", "2")
    place.wait(lambda: len(place.notes()) == 40, "all tasks")
    children = psutil.Process(worker.pid).children(recursive=True)
    assert len(children) == 3  # the process that forks, and two of the pool
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=10) == 0
    _, alive = psutil.wait_procs(children, timeout=3)
    assert alive == []


def test_a_task_longer_than_its_lease_runs_once(place: Place) -> None:
    text = (place.folder / "ends.py").read_text()
    (place.folder / "ends.py").write_text(text + 'app.conf.broker_transport_options = {"lease": 0.6}\n')
    result = place.app.send_task("late", (1, 2.5))
    for name in ("one", "two"):
        place.start("-P", "solo", "-n", f"{name}@test", "--without-heartbeat")
    assert result.get(timeout=15) == 1
    assert place.notes() == ["begin 1", "end 1"]


def test_queues_are_chosen_and_purged(place: Place) -> None:
    for queue in ("a", "b", "c"):
        place.app.send_task("nap", (queue, 0), queue=queue)
    place.start("-P", "threads", "-Q", "a,b", "--purge", "-n", "one@test")
    place.wait(lambda: "ready" in place.log(), "the worker")
    assert "purge: Erased 2 messages" in place.log()
    place.app.send_task("nap", ("again", 0), queue="b").get(timeout=10)
    assert place.notes() == ["begin again", "end again"]
    assert place.app.connections.broker().size(["a", "b", "c"]) == {"a": 0, "b": 0, "c": 1}


def test_queues_are_left_out(place: Place) -> None:
    text = (place.folder / "ends.py").read_text()
    (place.folder / "ends.py").write_text(text + 'app.conf.task_queues = {"a": {}, "b": {}}\n')
    for queue in ("a", "b"):
        place.app.send_task("nap", (queue, 0), queue=queue)
    place.start("-P", "threads", "-X", "a")
    place.wait(lambda: len(place.notes()) == 2, "the task of b")
    assert place.notes() == ["begin b", "end b"]
    assert place.app.connections.broker().size(["a"]) == {"a": 1}
