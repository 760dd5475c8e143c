"""Whole workers on a Redis of their own: killed, stopped for longer than a lease, and busy for longer than one."""

from __future__ import annotations

import json
import os
import signal
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
import redis

from umbel import Umbel
from umbel.model.ids import uuid

MODULE = """
    import os, time
    from umbel import Umbel

    url = os.environ["LEASED_URL"]
    app = Umbel("leased", broker=url, backend=url)
    app.conf.update(
        task_acks_late=True, task_default_queue="{queue}", worker_prefetch_multiplier={multiplier},
        broker_transport_options={options},
    )

    def note(what, number):
        with open("{folder}/notes", "a") as file:
            print(what, number, file=file)

    @app.task(name="work", bind=True)
    def work(self, number, seconds=0.0):
        note("begins", number)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(0.01)
        note("ends", number)
        return self.request.hostname

    @app.task(name="follow")
    def follow(who):
        note("follows", 0)
"""


class Fleet:
    """Workers of one module on one server."""

    def __init__(self, folder: Path, url: str, multiplier: int, options: dict[str, Any]) -> None:
        self.folder = folder
        self.url = url
        self.queue = f"test-{uuid()}"
        text = MODULE.format(queue=self.queue, folder=folder, options=options, multiplier=multiplier)
        (folder / "leased.py").write_text(textwrap.dedent(text))
        self.app = Umbel("client", broker=url, backend=url, set_as_current=False)
        self.app.conf.task_default_queue = self.queue
        self.workers: dict[str, subprocess.Popen[bytes]] = {}
        self.direct = redis.Redis.from_url(url)

    def start(self, name: str, pool: str = "prefork", slots: int = 2, url: str = "") -> subprocess.Popen[bytes]:
        """Start a worker, which reaches the server by a URL of its own, and wait until it is ready."""
        command = [sys.executable, "-m", "umbel", "-q", "-A", "leased", "worker", "-l", "INFO", "-n", f"{name}@here"]
        with open(self.folder / f"log-{name}", "ab") as log:
            command += ["-c", str(slots), "-P", pool]
            env = {**os.environ, "LEASED_URL": url or self.url}
            self.workers[name] = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log, env=env)
        self.wait(lambda: f"{name}@here ready" in self.log(name), f"{name} to be ready")
        return self.workers[name]

    def send(self, *numbers: int, seconds: float = 0.0, **options: Any) -> list[Any]:
        """Send tasks."""
        return [self.app.send_task("work", (number, seconds), **options) for number in numbers]

    def notes(self, what: str) -> Counter[int]:
        """How often each task did so."""
        path = self.folder / "notes"
        words = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
        return Counter(int(number) for said, number in words if said == what)

    def log(self, name: str) -> str:
        """What a worker said."""
        return (self.folder / f"log-{name}").read_text()

    def wait(self, done: Callable[[], Any], what: str, seconds: float = 15) -> float:
        """Wait for a condition; returns the seconds that it took."""
        before = time.monotonic()
        while not done():
            said = "\n".join(f"--- {name}\n{self.log(name)[-3000:]}" for name in self.workers)
            assert time.monotonic() - before < seconds, f"waited in vain for {what}\n{said}"
            time.sleep(0.01)
        return time.monotonic() - before

    def kill(self, name: str) -> None:
        """End a worker and its children without warning."""
        process = psutil.Process(self.workers[name].pid)
        for each in [process, *process.children(recursive=True)]:
            each.kill()
        self.workers[name].wait()

    def close(self) -> None:
        """End it all."""
        for worker in self.workers.values():
            if worker.poll() is None:
                for child in psutil.Process(worker.pid).children(recursive=True):
                    child.kill()
                worker.kill()
            worker.wait()
        self.app.close()
        self.direct.close()


@pytest.fixture
def fleet(tmp_path: Path, redis_server: Any) -> Iterator[Callable[..., Fleet]]:
    """``fleet(multiplier=4, lease=1)``: workers that are killed in the end."""
    made: list[Fleet] = []

    def make(multiplier: int = 4, **options: Any) -> Fleet:
        made.append(Fleet(tmp_path, redis_server.url, multiplier, options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.parametrize("lease", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_another_worker_has_what_a_killed_one_held(fleet: Any, lease: int, record_property: Any) -> None:
    made = fleet(**({} if lease == 10 else {"lease": lease}))
    made.start("doomed")
    made.start("heir")
    made.workers["heir"].send_signal(signal.SIGSTOP)  # so that all goes to the other one
    sent = made.send(*range(2), seconds=3600) + made.send(*range(10, 16))
    made.wait(lambda: sum(made.notes("begins").values()) == 2, "two tasks to begin")
    made.wait(lambda: made.direct.llen(made.queue) == 0, "the rest to be held")
    made.workers["heir"].send_signal(signal.SIGCONT)
    for result in made.send(20, 21):
        result.get(timeout=10)
    made.app.control.revoke([result.id for result in sent[:2]])
    made.kill("doomed")
    took = made.wait(lambda: all(made.notes("ends")[n] for n in range(10, 16)), "the tasks of the killed one", 20)
    record_property("seconds until they ran", took)
    print(f"they ran after {took:.1f} s")
    assert took < (15 if lease == 10 else 4 * lease)
    assert all(count == 1 for number, count in made.notes("ends").items())
    assert "whose lease ran out" in made.log("heir")
    assert {result.get(timeout=5) for result in sent[2:]} == {"heir@here"}
    made.wait(lambda: made.direct.hlen(next(iter(made.direct.keys("umbel.unacked.*")), "none")) == 0, "all acks", 5)
    assert [key for key in made.direct.keys("umbel.*") if b"doomed" in key] == []


@pytest.mark.parametrize(
    ("pool", "lease", "seconds"),
    [
        ("prefork", 1, 4),
        ("solo", 1, 4),
        pytest.param("threads", 1, 4, marks=pytest.mark.slow),
        pytest.param("prefork", 5, 20, marks=pytest.mark.slow),
        pytest.param("solo", 5, 20, marks=pytest.mark.slow),
    ],
)
def test_a_task_that_takes_longer_than_a_lease_runs_once(fleet: Any, pool: str, lease: int, seconds: int) -> None:
    made = fleet(lease=lease)
    for name in ("one", "two", "three"):
        made.start(name, pool)
    sent = made.send(*range(3), seconds=seconds)
    for result in sent:
        result.get(timeout=seconds + 20)
    time.sleep(1.5)
    assert made.notes("begins") == made.notes("ends") == {0: 1, 1: 1, 2: 1}
    for name in ("one", "two", "three"):
        assert "lease" not in made.log(name)


@pytest.mark.parametrize(
    ("pool", "lease", "stopped"),
    [("prefork", 1, 4), ("threads", 1, 4), ("solo", 1, 4), pytest.param("prefork", 5, 20, marks=pytest.mark.slow)],
)
def test_of_a_stopped_worker_and_the_other_one_result_is_accepted(
    fleet: Any, pool: str, lease: int, stopped: int
) -> None:
    made = fleet(multiplier=1, lease=lease)
    made.start("stopped", pool, slots=1)
    (result,) = made.send(1, seconds=lease / 2, link=made.app.signature("follow"))
    made.wait(lambda: made.notes("begins")[1], "it to begin")
    worker = psutil.Process(made.workers["stopped"].pid)
    processes = [worker, *worker.children(recursive=True)]
    for each in processes:
        each.send_signal(signal.SIGSTOP)
    try:
        made.start("other", pool, slots=1)
        made.wait(lambda: made.notes("ends")[1], "the other one to run it", stopped + lease)
        assert result.get(timeout=10) == "other@here"
    finally:
        for each in reversed(processes):
            each.send_signal(signal.SIGCONT)
    made.wait(lambda: "is refused" in made.log("stopped"), "the refusal")
    assert f"What task work[{result.id}] came to is refused: its lease ran out" in made.log("stopped")
    document = json.loads(made.direct.get(f"celery-task-meta-{result.id}"))
    assert (document["status"], document["result"], document["fence"]) == ("SUCCESS", "other@here", 1)
    made.wait(lambda: made.notes("follows")[0], "what follows")
    # Both go on.
    for each in made.send(*range(10, 14)):
        each.get(timeout=10)
    time.sleep(0.5)
    assert made.notes("follows")[0] == 1
    assert made.notes("begins")[1] == 2


def test_of_a_worker_that_was_cut_off_and_the_other_one_result_is_accepted(fleet: Any) -> None:
    made = fleet(multiplier=1, lease=1)
    made.direct.acl_setuser("cut", enabled=True, passwords=["+word"], keys=["*"], channels=["*"], commands=["+@all"])
    url = made.app.conf.broker_url
    made.start("off", slots=1, url=url.replace("//", "//cut:word@"))
    (result,) = made.send(1, seconds=1.0, link=made.app.signature("follow"))
    made.wait(lambda: made.notes("begins")[1], "it to begin")
    made.direct.acl_setuser("cut", enabled=False)
    made.direct.execute_command("CLIENT", "KILL", "USER", "cut")
    made.start("other", slots=1)
    made.wait(lambda: made.notes("ends")[1] == 2, "the other one to run it")
    assert result.get(timeout=10) == "other@here"
    made.direct.acl_setuser("cut", enabled=True)
    made.wait(lambda: "is refused" in made.log("off"), "the refusal")
    for each in made.send(*range(10, 14)):
        each.get(timeout=10)
    time.sleep(0.5)
    assert (made.notes("follows")[0], made.notes("begins")[1]) == (1, 2)
    assert result.get(timeout=1) == "other@here"


@pytest.mark.slow
def test_a_restart_of_the_server_runs_nothing_twice(
    tmp_path: Path, start_redis: Any, request: pytest.FixtureRequest
) -> None:
    server = start_redis("--appendonly", "yes", "--appendfsync", "always")
    # Workers come back within 3 s of each other, the longest pause between two tries; a lease is to be longer.
    made = Fleet(tmp_path, server.url, 4, {"lease": 4, "socket_timeout": 2})
    request.addfinalizer(made.close)
    for name in ("one", "two"):
        made.start(name)
    sent = made.send(*range(4), seconds=6) + made.send(*range(10, 30), seconds=0.1)
    made.app.connections.broker().flush()  # what a client has not heard of it sends again
    made.wait(lambda: sum(made.notes("begins").values()) == 4, "four tasks to begin")
    server.stop(signal.SIGTERM)
    time.sleep(4.2)  # the leases are over when it comes back
    server.start()
    for result in sent:
        result.get(timeout=30)
    time.sleep(1)
    wanted = dict.fromkeys([*range(4), *range(10, 30)], 1)
    assert made.notes("begins") == made.notes("ends") == wanted
