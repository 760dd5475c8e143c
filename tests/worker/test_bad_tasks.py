"""Tasks that nobody should have written: the result says what happened, the worker keeps all its slots, and nothing
else is lost."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from umbel import Umbel
from umbel.model import states
from umbel.model.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded, WorkerLostError

IN_PROCESS = ["threads", "solo", "asyncio"]
POOLS = ["prefork", *IN_PROCESS]


class Odd(BaseException):
    """Raised by a task that knows no better."""


@pytest.fixture
def app(app_on_sqlite: Any, tmp_path: Path) -> Any:
    made = app_on_sqlite

    @made.task(name="meet")
    def meet(where: str, count: int) -> str:
        """Wait for so many others of its kind."""
        folder = tmp_path / where
        folder.mkdir(exist_ok=True)
        (folder / str(time.monotonic_ns())).touch()
        end = time.monotonic() + 15
        while len(list(folder.iterdir())) < count:
            if time.monotonic() > end:
                return "alone"
            time.sleep(0.005)
        return "met"

    def raises(error: BaseException) -> None:
        raise error

    @made.task(name="ignores", soft_time_limit=0.2)
    def ignores(seconds: float) -> str:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            try:
                time.sleep(0.01)
            except SoftTimeLimitExceeded:
                continue
        return "ran on"

    made.task(name="fine")(lambda number: number)
    made.task(name="exits")(lambda: sys.exit(3))
    made.task(name="odd")(lambda: raises(Odd("never seen")))
    made.task(name="generator")(lambda: raises(GeneratorExit()))
    made.task(name="endless")(lambda: [None for _ in iter(int, 1)])
    made.task(name="memory")(lambda: bytearray(1 << 50))
    made.task(name="deep")(lambda: (lambda f: f(f))(lambda f: f(f)))
    made.task(name="object")(lambda: object())
    made.task(name="self")(lambda: (lambda found: found.append(found) or found)([]))
    made.task(name="leaves")(lambda: os._exit(3))
    made.task(name="crashes")(lambda: ctypes.string_at(0))
    made.task(name="killed")(lambda: os.kill(os.getpid(), signal.SIGKILL))
    made.task(name="aborts")(lambda: os.abort())
    return made


RAISED = {
    "exits": "3",
    "odd": "never seen",
    "generator": "",
    "memory": "",
    "deep": "recursion",
    "object": "object",
    "self": "",
}
"""What can be caught, with a part of what the result says."""

DEADLY = {"leaves": "exit code 3", "crashes": "SIGSEGV", "killed": "SIGKILL", "aborts": "SIGABRT"}
"""What ends a process, with a part of what the result says."""


def _beside(app: Umbel, bad: Callable[[], Any]) -> Any:
    """Send a bad task amid good ones; the good ones are all done. Returns the bad one's result when it has ended."""
    good = [app.send_task("fine", (number,)) for number in range(5)]
    result = bad()
    good += [app.send_task("fine", (number,)) for number in range(5, 10)]
    assert [each.get(timeout=30) for each in good] == list(range(10))
    end = time.monotonic() + 30
    while not result.ready():
        assert time.monotonic() < end, "the bad task has no result"
        time.sleep(0.01)
    return result


def _has_slots(app: Umbel, count: int, where: str) -> None:
    """So many tasks run at once."""
    together = [app.send_task("meet", (where, count)) for _ in range(count)]
    assert [each.get(timeout=30) for each in together] == ["met"] * count


@pytest.mark.parametrize("pool", POOLS)
def test_what_a_task_raises_or_returns_harms_nobody(app: Any, running: Any, pool: str) -> None:
    slots = 1 if pool == "solo" else 2
    running(app, pool=pool, concurrency=slots)
    for number, (name, said) in enumerate(RAISED.items()):
        result = _beside(app, lambda name=name: app.send_task(name))
        assert result.state == states.FAILURE, name
        assert said in f"{result.result!r} {result.result}", name
        if number % 3 == 0:
            _has_slots(app, slots, f"after-{name}")
    _has_slots(app, slots, "in the end")


def test_what_ends_a_process_of_the_pool_is_told_and_the_process_replaced(app: Any, running: Any) -> None:
    running(app, pool="prefork", concurrency=2)
    for name, said in DEADLY.items():
        result = _beside(app, lambda name=name: app.send_task(name))
        assert isinstance(result.result, WorkerLostError), name
        assert said in str(result.result)
        _has_slots(app, 2, f"after-{name}")


def test_a_task_that_ignores_its_soft_limit_is_killed_for_its_hard_one(app: Any, running: Any) -> None:
    running(app, pool="prefork", concurrency=2)
    result = _beside(app, lambda: app.send_task("ignores", (60,), time_limit=0.5))
    assert isinstance(result.result, TimeLimitExceeded)
    _has_slots(app, 2, "after")


@pytest.mark.parametrize("pool", IN_PROCESS)
def test_where_there_is_no_hard_limit_it_runs_on_and_is_told_once(app: Any, running: Any, pool: str) -> None:
    slots = 1 if pool == "solo" else 2
    running(app, pool=pool, concurrency=slots)
    result = _beside(app, lambda: app.send_task("ignores", (0.6,)))
    assert result.result == "ran on"
    _has_slots(app, slots, "after")


@pytest.mark.parametrize("pool", POOLS)
def test_an_endless_task_is_ended_by_its_soft_limit(app: Any, running: Any, pool: str) -> None:
    slots = 1 if pool == "solo" else 2
    running(app, pool=pool, concurrency=slots)
    result = _beside(app, lambda: app.send_task("endless", soft_time_limit=0.3))
    assert isinstance(result.result, SoftTimeLimitExceeded)
    _has_slots(app, slots, "after")


def test_a_task_that_eats_memory_costs_its_process_and_no_more(app: Any, running: Any) -> None:
    @app.task(name="hoards")
    def hoards() -> int:
        app.hoard = bytearray(os.urandom(1) * (150 << 20))
        return os.getpid()

    app.task(name="pid")(os.getpid)
    running(app, pool="prefork", concurrency=2, max_memory_per_child=120_000)
    first = _beside(app, lambda: app.send_task("hoards")).result
    _has_slots(app, 2, "after")
    assert first not in {app.send_task("pid").get(timeout=20) for _ in range(6)}


MODULE = """
    import sys
    from umbel import Umbel

    app = Umbel("talks", broker="sqlite:///{folder}/umbel.db", backend="sqlite:///{folder}/umbel.db")

    @app.task(name="talks")
    def talks(lines, line, stream):
        out = sys.stdout if stream == 1 else sys.stderr
        for _ in range(lines):
            print("x" * line, file=out)
        return "said"

    @app.task(name="fine")
    def fine(number):
        return number
"""


@pytest.mark.parametrize(
    ("pool", "megabytes"),
    [
        ("prefork", 64),
        ("threads", 64),
        pytest.param("solo", 64, marks=pytest.mark.slow),
        pytest.param("asyncio", 64, marks=pytest.mark.slow),
        pytest.param("prefork", 2048, marks=pytest.mark.slow),
    ],
)
def test_a_task_that_prints_without_end_harms_nobody(pool: str, megabytes: int, tmp_path: Path) -> None:
    (tmp_path / "talks.py").write_text(textwrap.dedent(MODULE.format(folder=tmp_path)))
    url = f"sqlite:///{tmp_path}/umbel.db"
    client = Umbel("client", broker=url, backend=url, set_as_current=False)
    command = [sys.executable, "-m", "umbel", "-q", "-A", "talks", "worker", "-c", "2", "-P", pool]
    worker = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        assert client.send_task("fine", (0,)).get(timeout=30) == 0
        process = psutil.Process(worker.pid)
        before = _size(process)
        talking = [client.send_task("talks", (megabytes, 1 << 20, stream)) for stream in (1, 2)]
        good = [client.send_task("fine", (number,)) for number in range(10)]
        assert [each.get(timeout=120) for each in talking] == ["said", "said"]
        assert [each.get(timeout=30) for each in good] == list(range(10))
        assert _size(process) - before < 60 << 20
    finally:
        worker.send_signal(signal.SIGTERM)
        worker.wait(timeout=30)
        client.close()


def _size(process: psutil.Process) -> int:
    return sum(int(each.memory_info().rss) for each in (process, *process.children(recursive=True)))
