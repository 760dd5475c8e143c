"""Revokes that workers could not hear: they are kept in the result store, and in a state file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel
from umbel.app.control import Control
from umbel.model.exceptions import TaskRevokedError
from umbel.model.ids import uuid
from umbel.results.revocations import Revocations
from umbel.worker.commands import Commands
from umbel.worker.revoked import Revoked
from umbel.worker.state_db import StateDB
from umbel_kernel.errors import ConfigurationError, OperationalError
from umbel_testkit.waiting import eventually

MODULE = """
    import os, signal, sys
    from umbel import Umbel

    app = Umbel("fleet", broker="{broker}", backend={backend!r})
    app.conf.update(task_default_queue="{queue}", broker_transport_options={{"lease": 1.0}})

    @app.task(name="note")
    def note(number):
        with open("{folder}/notes", "a") as file:
            print(number, file=file)
"""


@pytest.fixture
def ran(app: Any) -> list[int]:
    """What the task ``t`` of the app was run with."""
    found: list[int] = []
    app.task(name="t")(found.append)
    return found


def test_a_revoke_that_no_worker_heard_holds(app: Any, ran: list[int], running: Any) -> None:
    revoked, other = app.send_task("t", (1,)), app.send_task("t", (2,))
    app.control.revoke(revoked.id)
    running(app)
    with pytest.raises(TaskRevokedError):
        revoked.get(timeout=20)
    other.get(timeout=20)
    assert ran == [2]


def test_so_does_one_by_a_stamp(app: Any, ran: list[int], running: Any) -> None:
    def send(number: int, **stamps: Any) -> Any:
        sig = app.tasks["t"].si(number)
        sig.stamp(**stamps)
        return sig.apply_async()

    revoked = [send(1, customer="a"), send(2, customer=["b", "c"]), send(3, month=11)]
    others = [send(4, customer="d"), send(5, town="a")]
    revoked[0].revoke_by_stamped_headers({"customer": "a"})
    app.control.revoke_by_stamped_headers({"customer": ["x", "c"], "month": 11})
    worker = running(app)
    for result in revoked:
        with pytest.raises(TaskRevokedError):
            result.get(timeout=20)
    for result in others:
        result.get(timeout=20)
    assert sorted(ran) == [4, 5]
    app.control.revoke_by_stamped_headers({"town": "z"})
    eventually(lambda: worker.context.revoked.stamped(_stamped("town", "z")), within=20, what="the command")
    late = send(6, town="z")
    with pytest.raises(TaskRevokedError):
        late.get(timeout=20)
    assert len(ran) == 2


def _stamped(name: str, value: Any) -> dict[str, Any]:
    return {"stamped_headers": [name], "stamps": {name: value}}


def test_where_nothing_was_revoked_no_task_is_looked_up(
    app: Any, ran: list[int], running: Any, monkeypatch: Any
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(Revocations, "find", lambda self, tasks, timeout: asked.append(tasks) or set())
    running(app)
    app.send_task("t", (1,)).get(timeout=20)
    assert (ran, asked) == ([1], [])


def test_what_is_held_when_the_worker_begins_to_listen_is_looked_up(rig: Any, app: Any) -> None:
    app.task(name="t")(print)
    made = rig(size=1, multiplier=4)
    results = [app.send_task("t") for _ in range(4)]
    made.turn()
    made.turn()
    running = made.pool.begin()
    made.turn()
    made.loop.recall.begin()
    assert not made.loop.recall.active
    Revocations(app.backend).keep([result.id for result in results], {})
    made.loop.recall.begin()
    made.turn()
    made.pool.end(running, app)
    for _ in range(3):
        made.turn()
    assert sorted(result.state for result in results) == ["REVOKED"] * 3 + ["SUCCESS"], "all but the one that ran"
    assert (made.held, len(made.pool.waiting)) == (0, 0)


def test_a_store_that_is_away_is_asked_again(rig: Any, app: Any, monkeypatch: Any, caplog: Any) -> None:
    app.task(name="t")(print)
    made = rig(size=1)
    made.loop.recall._now = made.clock.monotonic

    def away(*arguments: Any) -> Any:
        raise OperationalError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(type(app.backend), "look", away)
        made.loop.recall.begin()
        assert made.loop.recall.active and "cannot see whether tasks were revoked" in caplog.text
        first = app.send_task("t")
        made.turn()
        assert len(made.pool.waiting) == 1, "work goes on meanwhile"
    made.pool.end(made.pool.begin(), app)
    made.turn()
    assert first.state == "SUCCESS"
    revoked = app.send_task("t")
    Revocations(app.backend).keep([revoked.id], {})
    made.clock.now += 2
    made.turn()
    made.turn()
    assert revoked.state == "REVOKED"


def test_a_client_whose_store_is_away_tells_the_workers_all_the_same(app: Any, monkeypatch: Any, caplog: Any) -> None:
    sent: list[Any] = []
    monkeypatch.setattr(Control, "broadcast", lambda self, command, arguments, destination: sent.append(arguments))
    app.control.revoke(["1", "2"], terminate=True)
    app.control.revoke("3", destination=["w1@here"])
    monkeypatch.setattr(Revocations, "keep", lambda *_: (_ for _ in ()).throw(OperationalError("away")))
    app.control.terminate("4", signal="KILL")
    assert [(each["task_id"], each["kept"], each["signal"]) for each in sent] == [
        (["1", "2"], True, "SIGTERM"),
        (["3"], False, "SIGTERM"),
        (["4"], False, "KILL"),
    ]
    assert "cannot be kept in the result store" in caplog.text


def test_a_worker_keeps_what_a_client_did_not(rig: Any, app: Any) -> None:
    made = rig(size=1)
    worker = type("W", (), {"app": app, "hostname": "w1@here", "context": type("C", (), {"timer": made.timer})})
    answer = Commands(worker, made.loop, made.revoked)
    assert answer("revoke", {"task_id": "a", "signal": None})["ok"] == "tasks a flagged as revoked"
    assert answer("revoke_by_stamped_headers", {"headers": ["town=x"]})["ok"].endswith("but not terminated")
    assert answer("terminate", {"signal": "KILL", "task_id": ["b", 7]})["ok"] == "tasks b flagged as revoked"
    asked = [("a", {}), ("b", {}), ("c", {}), ("d", _stamped("town", "x"))]
    assert Revocations(app.backend).find(asked, 5) == {"a", "b", "d"}
    assert answer("hello", {"from_node": "w1@here"}) is None
    assert answer("hello", {"from_node": "w2@here", "revoked": ["z"]}) == {"revoked": ["a", "b", "z"], "clock": 1}
    assert answer("revoked", {}) == ["a", "b", "z"]
    assert "error" in answer("revoke_by_stamped_headers", {"headers": 7})


# The state file


def test_a_state_file_brings_back_what_was_revoked(tmp_path: Path) -> None:
    path = str(tmp_path / "state")
    first, second = Revoked(), Revoked()
    StateDB(path).load(first)
    first.add(["a", "b"])
    first.add_stamps({"town": ["x", 1]})
    StateDB(path).load(second)
    assert list(second) == ["a", "b"]
    assert second.covers("c", _stamped("town", "x")) and second.covers("c", _stamped("town", [1]))
    assert not second.covers("c", _stamped("town", "y"))


def test_what_is_too_old_or_too_much_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "state")
    first = Revoked()
    StateDB(path).load(first)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - 10_801)
    first.add(["old"])
    monkeypatch.setattr(time, "time", lambda: now - 10_000)
    first.add(["older"])
    monkeypatch.setattr(time, "time", lambda: now)
    monkeypatch.setattr("umbel.worker.state_db.LIMIT", 3)
    first.add(["1", "2", "3"])
    second = Revoked()
    StateDB(path).load(second)
    assert list(second) == ["1", "2", "3"]


def test_a_file_that_is_none_of_ours_is_refused(tmp_path: Path, caplog: Any) -> None:
    (tmp_path / "celery.state").write_bytes(b"\x13\x57\x9a\xce" * 300)
    with pytest.raises(ConfigurationError, match="one of Celery's cannot be read"):
        StateDB(str(tmp_path / "celery.state")).load(Revoked())
    with pytest.raises(ConfigurationError, match="unable to open"):
        StateDB(str(tmp_path / "nowhere" / "state")).load(Revoked())
    db = StateDB(str(tmp_path / "nowhere" / "state"))
    db.keep(["a"], {})
    assert "cannot be kept in the state file" in caplog.text


# A fleet


class Fleet:
    """Workers on Redis that are killed and started again.

    Args:
        backend: the URL of the result store, or None.
    """

    def __init__(self, folder: Path, broker: str, backend: str | None) -> None:
        self.folder, self.queue = folder, f"fleet-{uuid()}"
        text = textwrap.dedent(MODULE).format(broker=broker, backend=backend, queue=self.queue, folder=folder)
        (folder / "fleet.py").write_text(text)
        self.app = Umbel("fleet", broker=broker, backend=backend, set_as_current=False)
        self.app.conf.task_default_queue = self.queue
        self.workers: list[subprocess.Popen[bytes]] = []

    def start(self, count: int, *options: str) -> None:
        """Start so many, and wait until they are ready."""
        for number in range(count):
            log = self.folder / f"w{len(self.workers)}.log"
            command = [sys.executable, "-m", "umbel", "-A", "fleet", "worker", "-c", "1", "-n", f"w{number}@%h"]
            with log.open("wb") as file:
                self.workers.append(
                    subprocess.Popen([*command, "-l", "INFO", *options], cwd=self.folder, stdout=file, stderr=file)
                )
            eventually(lambda log=log: " ready." in log.read_text(), within=30, what=f"a worker: {log}")

    def kill(self) -> None:
        """Kill them all."""
        for worker in self.workers:
            worker.send_signal(signal.SIGKILL)
            worker.wait(20)

    def notes(self) -> list[str]:
        """What was run."""
        path = self.folder / "notes"
        return path.read_text().split() if path.exists() else []


@pytest.fixture
def fleet(tmp_path: Path, redis_url: str) -> Any:
    made: list[Fleet] = []

    def make(backend: str | None) -> Fleet:
        made.append(Fleet(tmp_path, redis_url, backend))
        return made[-1]

    yield make
    for each in made:
        each.kill()
        each.app.connections.broker().delete([each.queue])
        each.app.close()


@pytest.mark.parametrize("keeps", ["store", "state file"])
def test_of_200_revoked_tasks_none_runs_after_the_fleet_was_killed(
    fleet: Callable[[str | None], Fleet], redis_url: str, keeps: str
) -> None:
    made = fleet(redis_url if keeps == "store" else None)
    options = ("-S", str(made.folder / "%n.state")) if keeps == "state file" else ()
    made.start(2, *options)
    note = made.app.signature("note")
    due = time.time() + 6
    ids = [note.apply_async((f"revoked-{n}",), countdown=due - time.time()).id for n in range(200)]
    made.app.control.revoke(ids)
    if keeps == "state file":
        logs = [made.folder / f"w{n}.log" for n in range(2)]
        eventually(lambda: all("flagged as revoked" in log.read_text() for log in logs), within=20, what="the command")
    made.kill()
    made.start(2, *options)
    eventually(lambda: time.time() > due, within=20, what="the time of the tasks")
    for n in range(20):
        note.apply_async((f"other-{n}",))
    eventually(lambda: len(made.notes()) >= 20, within=30, what="other tasks")
    broker = made.app.connections.broker()
    eventually(lambda: broker.size([made.queue]) == {made.queue: 0}, within=30, what="the end of the queue")
    assert [each for each in made.notes() if each.startswith("revoked")] == []
    assert os.path.exists(made.folder / "w0.state") is (keeps == "state file")
