"""Processes killed without warning, on the embedded broker: every task completes."""

from __future__ import annotations

import contextlib
import os
import random
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
from umbel.model.exceptions import OperationalError, WorkerLostError

TASKS = 2_000

MODULE = """
    import os
    import time
    from umbel import Umbel

    app = Umbel("ledger", broker="sqlite:///{folder}/umbel.db", backend="sqlite:///{folder}/umbel.db")
    app.conf.task_acks_late = True

    LEDGER = os.open("{folder}/ledger", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    @app.task(ignore_result=True)
    def note(number):
        end = time.perf_counter() + 0.002
        while time.perf_counter() < end:
            pass
        os.write(LEDGER, b"%d\\n" % number)

    @app.task
    def die():
        os.kill(os.getpid(), 9)
"""


class Ledger:
    """A module of tasks in a folder of its own, its app, and its workers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "ledger.py").write_text(textwrap.dedent(MODULE.format(folder=folder)))
        url = f"sqlite:///{folder}/umbel.db"
        self.app = Umbel("client", broker=url, backend=url, set_as_current=False)
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a worker."""
        command = [sys.executable, "-m", "umbel", "-A", "ledger", "worker", "-l", "WARNING", "-c", "2", *words]
        with open(self.folder / "log", "ab") as log:
            worker = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)
        self.workers.append(worker)
        return worker

    def send(self) -> None:
        """Send the tasks."""
        self.app.send_many([("ledger.note", (number,), {}, {"ignore_result": True}) for number in range(TASKS)])

    def runs(self) -> Counter[int]:
        """How often each task ran to its end."""
        path = self.folder / "ledger"
        return Counter(int(line) for line in path.read_text().split()) if path.exists() else Counter()

    def wait(self, seconds: float, meanwhile: Callable[[], object] = lambda: None) -> Counter[int]:
        """Wait until every task ran; ``meanwhile`` is called every few milliseconds."""
        end = time.monotonic() + seconds
        while len(runs := self.runs()) < TASKS and time.monotonic() < end:
            meanwhile()
            time.sleep(0.02)
        return runs

    def log(self) -> str:
        """What the workers said."""
        return (self.folder / "log").read_text()


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger whose workers are killed in the end."""
    made = Ledger(tmp_path)
    yield made
    for worker in made.workers:
        if worker.poll() is None:
            worker.kill()
        worker.wait()
    made.app.close()


def _children(pid: int) -> list[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid).children()
    return []


def test_no_task_is_lost_when_pool_children_are_killed(ledger: Ledger, record_property: Any) -> None:
    ledger.send()
    worker = ledger.start("-P", "prefork")
    dice, killed, last = random.Random(7), 0, 0.0

    def kill() -> None:
        nonlocal killed, last
        children = _children(worker.pid)
        if children and ledger.runs() and killed < 15 and time.monotonic() - last > 0.1:
            with contextlib.suppress(psutil.NoSuchProcess):
                dice.choice(children).kill()
                killed, last = killed + 1, time.monotonic()

    runs = ledger.wait(60, kill)
    lost, twice = TASKS - len(runs), sum(count > 1 for count in runs.values())
    record_property("killed children", killed)
    record_property("run twice", twice)
    print(f"killed {killed} children: lost {lost}, run twice {twice}")
    assert killed >= 5
    assert lost == 0, ledger.log()[-3000:]
    # A task that was killed after its note and before it was settled runs again: at most one a kill.
    assert twice <= killed
    assert worker.poll() is None


def test_no_task_is_lost_when_workers_are_killed(ledger: Ledger, record_property: Any) -> None:
    ledger.send()
    killed = 0
    for _ in range(4):
        worker = ledger.start("-P", "prefork")
        before, end = len(ledger.runs()), time.monotonic() + 20
        while len(ledger.runs()) < min(before + 200, TASKS) and time.monotonic() < end:
            time.sleep(0.005)
        os.kill(worker.pid, signal.SIGKILL)
        worker.wait()
        killed += 1
    ledger.start("-P", "prefork")
    runs = ledger.wait(60)
    lost, twice = TASKS - len(runs), sum(count > 1 for count in runs.values())
    record_property("run twice", twice)
    print(f"killed {killed} workers: lost {lost}, run twice {twice}")
    assert lost == 0, ledger.log()[-3000:]


def test_nothing_is_lost_by_a_warm_and_a_cold_shutdown(ledger: Ledger) -> None:
    ledger.send()
    for number in (signal.SIGTERM, signal.SIGQUIT, signal.SIGTERM):
        worker = ledger.start("-P", "prefork")
        before, end = len(ledger.runs()), time.monotonic() + 20
        while len(ledger.runs()) < before + 200 and time.monotonic() < end:
            time.sleep(0.005)
        worker.send_signal(number)
        # A cold end that cuts something off says so by its exit code.
        assert worker.wait(timeout=15) in ((0, 1) if number == signal.SIGQUIT else (0,)), ledger.log()[-3000:]
        assert not _children(worker.pid)
    ledger.start("-P", "threads")
    runs = ledger.wait(60)
    assert len(runs) == TASKS, ledger.log()[-3000:]
    # Only a cold shutdown ends tasks that run; there are two slots.
    assert sum(count > 1 for count in runs.values()) <= 2


def test_a_task_that_kills_its_process_is_given_up_with_the_reason(ledger: Ledger) -> None:
    worker = ledger.start("-P", "prefork")
    with pytest.raises(WorkerLostError, match=r"signal 9|SIGKILL"):
        ledger.app.send_task("ledger.die").get(timeout=20)
    assert worker.poll() is None
    assert ledger.log().count("delivered again") == 2


def test_an_unreachable_broker_is_an_error_within_the_deadline(unused_port: int) -> None:
    app = Umbel(
        "away", broker=f"redis://someone:sesame@127.0.0.1:{unused_port}/0", set_as_current=False,
        changes={"broker_publish_timeout": 2.0},
    )  # fmt: skip
    begin = time.monotonic()
    with pytest.raises(OperationalError) as caught:
        app.send_task("a.task")
    assert time.monotonic() - begin < 3
    assert f"127.0.0.1:{unused_port}" in str(caught.value)
    assert "sesame" not in str(caught.value)


@pytest.fixture
def unused_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
