"""Chords while processes die: every body runs once, with all results in order."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import redis

from umbel import Umbel
from umbel.canvas import chord
from umbel.model.ids import uuid

MODULE = """
    import json, time
    import redis
    from umbel import Umbel

    app = Umbel("chords", broker={broker!r}, backend={backend!r})
    app.conf.update(
        task_acks_late=True, task_default_queue={queue!r}, broker_transport_options={options!r},
        worker_prefetch_multiplier=2,
    )
    notes = redis.Redis.from_url({notes!r})

    @app.task(name="member")
    def member(number, index, seconds):
        notes.incr("members")
        time.sleep(seconds)
        return [number, index]

    @app.task(name="body", bind=True)
    def body(self, values, number):
        headers = self.request.headers or {{}}
        again = bool(self.request.delivery_info["redelivered"] or headers.get("umbel-lost"))
        notes.rpush("ran", json.dumps([number, values, headers.get("umbel-chord"), again]))
        return len(values)
"""

PATIENCE = 120.0


class Fleet:
    """A worker that is killed, one that is left alone, and what the bodies have noted."""

    def __init__(self, broker: str, store: Any, notes: str, folder: Path, options: dict[str, Any], pool: str) -> None:
        self.store, backend, self.pool = store, store.url, pool
        self.queue = f"test-chords-{uuid()}"
        self.folder = folder
        text = MODULE.format(broker=broker, backend=backend, notes=notes, queue=self.queue, options=options)
        (folder / "chords.py").write_text(textwrap.dedent(text))
        self.app = Umbel("client", broker=broker, backend=backend, set_as_current=False)
        self.app.conf.update(task_default_queue=self.queue, broker_transport_options=options)
        self.notes = redis.Redis.from_url(notes)
        self.victim: subprocess.Popen[bytes] | None = None
        self.survivor: subprocess.Popen[bytes] | None = None
        self.chance = random.Random(20)
        self.kills = {"child": 0, "worker": 0} if pool == "prefork" else {"worker": 0}

    def start(self, name: str, queue: str, *options: str) -> subprocess.Popen[bytes]:
        """Start a worker."""
        command = [sys.executable, "-m", "umbel", "-q", "-A", "chords", "worker", "-l", "WARNING", "-n", f"{name}@%h"]
        with open(self.folder / f"{name}.log", "ab") as log:
            return subprocess.Popen(
                [*command, "-Q", queue, *options], cwd=self.folder, stdout=log, stderr=log, start_new_session=True
            )

    def start_victim(self) -> None:
        """Start, again, the worker that is killed."""
        self.victim = self.start("victim", self.queue, "-P", self.pool, "-c", "4")

    def send(self, chords: int, members: int, seconds: float, bodies: str) -> list[Any]:
        """Send chords whose members take up to so long. Returns the results of the bodies."""
        member, body = self.app.signature("member"), self.app.signature("body")
        return [
            chord(
                [member.clone((number, index, self.chance.uniform(0, seconds))) for index in range(members)],
                body.clone(kwargs={"number": number}).set(queue=bodies),
            ).apply_async()
            for number in range(chords)
        ]

    def kill_child(self) -> None:
        """Kill one of the victim's processes that run tasks."""
        assert self.victim is not None
        with contextlib.suppress(psutil.NoSuchProcess, IndexError):
            root = psutil.Process(self.victim.pid)
            leaves = [each for each in root.children(recursive=True) if each.ppid() != root.pid]
            self.chance.choice(leaves).kill()
            self.kills["child"] += 1

    def kill_worker(self) -> None:
        """Kill the victim with all its processes, and start another."""
        assert self.victim is not None
        os.killpg(self.victim.pid, signal.SIGKILL)
        self.victim.wait()
        self.kills["worker"] += 1
        self.start_victim()

    def torment(self, results: list[Any], *, every: float, attacks: int) -> None:
        """Kill at random until all bodies have ended: children mostly, where there are any, and each eighth time the
        whole worker."""
        end, attack = time.monotonic() + PATIENCE, 0
        self.work(results, end)
        while (ended := sum(result.ready() for result in results)) < len(results):
            assert time.monotonic() < end, f"{ended} of {len(results)} bodies have run\n{self.logs()}"
            time.sleep(self.chance.uniform(every / 2, every * 1.5))
            attack += 1
            if attack > attacks:
                continue
            if attack % 8 == 2 or "child" not in self.kills:
                self.kill_worker()
                self.work(results, end)
            else:
                self.kill_child()

    def work(self, results: list[Any], end: float) -> None:
        """Wait until the victim runs members, if there are any left."""
        before = self.notes.get("members")
        while self.notes.get("members") == before and not all(result.ready() for result in results):
            assert time.monotonic() < end, f"no member runs\n{self.logs()}"
            time.sleep(0.01)

    def ran(self) -> list[tuple[int, Any, str, bool]]:
        """What the bodies have noted: number, values, whose end of the header it was, whether it was delivered anew."""
        return [tuple(json.loads(note)) for note in self.notes.lrange("ran", 0, -1)]

    def logs(self) -> str:
        """The ends of the workers' logs."""
        return "\n".join(path.read_text()[-3000:] for path in self.folder.glob("*.log"))

    def close(self) -> None:
        """End it all."""
        for worker in (self.victim, self.survivor):
            if worker is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(worker.pid, signal.SIGKILL)
                worker.wait()
        broker = self.app.connections.broker()
        broker.delete([self.queue, f"{self.queue}.bodies"])
        self.app.close()


@pytest.fixture
def fleet(request: Any, start_redis: Callable[..., Any], tmp_path: Path) -> Iterator[Fleet]:
    """A fleet on the broker that the test is for, with the pool that it is for."""
    on, _, pool = request.param.partition(" ")
    store, notes = start_redis("--appendonly", "yes"), start_redis()
    broker = store.url if on == "redis" else request.getfixturevalue("amqp_url")
    made = Fleet(broker, store, notes.url, tmp_path, {"lease": 2.0} if on == "redis" else {}, pool or "prefork")
    yield made
    made.close()


@pytest.mark.parametrize("fleet", ["redis", "amqp"], indirect=True)
def test_every_body_runs_once_while_processes_are_killed(fleet: Fleet) -> None:
    check_apart(fleet, chords=10, members=10, seconds=0.06, every=0.15, attacks=6)


@pytest.mark.parametrize("fleet", ["redis threads"], indirect=True)
def test_every_body_runs_once_while_workers_with_threads_are_killed(fleet: Fleet) -> None:
    check_apart(fleet, chords=10, members=10, seconds=0.06, every=0.3, attacks=2)


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("fleet", ["redis threads", "amqp threads"], indirect=True)
def test_every_body_of_many_runs_once_while_workers_with_threads_are_killed(fleet: Fleet) -> None:
    check_apart(fleet, chords=50, members=20, seconds=0.1, every=0.6, attacks=10)


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("fleet", ["redis", "amqp"], indirect=True)
def test_every_body_of_many_runs_once_while_processes_are_killed(fleet: Fleet) -> None:
    check_apart(fleet, chords=50, members=20, seconds=0.1, every=0.3, attacks=50)


def check_apart(fleet: Fleet, *, chords: int, members: int, every: float, seconds: float, attacks: int) -> None:
    """The bodies run where nobody is killed, so that each that is sent runs as often as it was sent."""
    bodies = f"{fleet.queue}.bodies"
    results = fleet.send(chords, members, seconds, bodies)
    fleet.survivor = fleet.start("survivor", bodies, "-P", "solo")
    fleet.start_victim()
    fleet.torment(results, every=every, attacks=attacks)
    ran = fleet.ran()
    assert sorted(number for number, *_ in ran) == list(range(chords)), fleet.kills
    for number, values, _, _ in ran:
        assert values == [[number, index] for index in range(members)]
    assert [result.get(timeout=5) for result in results] == [members] * chords
    assert min(fleet.kills.values()) > 0, fleet.kills
    print(fleet.kills)


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("fleet", ["redis", "amqp"], indirect=True)
def test_a_body_that_is_killed_runs_again_and_none_other_does(fleet: Fleet) -> None:
    results = fleet.send(50, 20, 0.1, fleet.queue)
    fleet.start_victim()
    fleet.torment(results, every=0.3, attacks=50)
    ran = fleet.ran()
    assert {number for number, *_ in ran} == set(range(50))
    for number, values, _, _ in ran:
        assert values == [[number, index] for index in range(20)]
    assert len({(number, end) for number, _, end, _ in ran}) == 50, "two ends of one header ran"
    first = [number for number, _, _, again in ran if not again]
    assert len(first) == len(set(first)), "a body ran twice that was delivered once"
    print(fleet.kills, len(ran))


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("fleet", ["redis", "amqp", "redis threads"], indirect=True)
def test_chords_wait_for_a_store_that_is_away(fleet: Fleet) -> None:
    bodies = f"{fleet.queue}.bodies"
    results = fleet.send(20, 20, 0.1, bodies)
    fleet.survivor = fleet.start("survivor", bodies, "-P", "solo")
    fleet.start_victim()
    for _ in range(3):
        fleet.work(results, time.monotonic() + PATIENCE)
        fleet.store.stop()
        time.sleep(1)
        fleet.store.start()
    assert [result.get(timeout=PATIENCE) for result in results] == [20] * 20
    ran = fleet.ran()
    assert sorted(number for number, *_ in ran) == list(range(20))
    for number, values, _, _ in ran:
        assert values == [[number, index] for index in range(20)]
