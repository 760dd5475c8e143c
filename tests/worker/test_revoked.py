"""The ids that are not to run, and what becomes of their tasks."""

from __future__ import annotations

import time
from typing import Any

import pytest

from umbel.model.exceptions import TaskRevokedError
from umbel.worker.revoked import Revoked


def test_an_id_is_kept_for_its_time(clock: Any) -> None:
    revoked = Revoked(limit=10, expires=60, now=clock.monotonic)
    revoked.add(["a"])
    clock.now += 59
    assert "a" in revoked
    revoked.add(["a"])
    clock.now += 59
    assert "a" in revoked
    clock.now += 2
    assert "a" not in revoked
    assert len(revoked) == 0


def test_the_oldest_go_when_there_are_too_many(clock: Any) -> None:
    revoked = Revoked(limit=3, expires=60, now=clock.monotonic)
    revoked.add(["a", "b", "c"])
    revoked.add(["a"])
    revoked.add(["d"])
    assert list(revoked) == ["c", "a", "d"]


def test_what_is_no_id_is_simply_not_there() -> None:
    assert 17 not in Revoked()
    assert None not in Revoked()


def test_a_revoked_task_that_waits_in_the_pool_is_not_run(rig: Any, app: Any) -> None:
    app.task(name="t")(lambda: None)
    made = rig(size=1)
    made.loop.pace.mean, made.loop.pace.done = 0.0001, 10_000
    results = [app.send_task("t") for _ in range(3)]
    made.turn()
    assert len(made.pool.waiting) == 3
    running = made.pool.begin()
    made.turn()
    made.revoked.add([results[1].id])
    made.loop.revoke([results[1].id], terminate=False)
    assert [job.headers["id"] for job in made.pool.waiting.values()] == [results[2].id]
    assert made.pool.cancelled == []
    made.turn()
    assert results[1].state == "REVOKED"
    made.pool.end(running, app)
    made.pool.end(made.pool.begin(), app)
    made.turn()
    assert made.counters == (0, 0)
    assert made.held == 0


def test_terminate_ends_what_runs(rig: Any, app: Any) -> None:
    app.task(name="t")(lambda: None)
    made = rig(size=1)
    result = app.send_task("t")
    made.turn()
    job = made.pool.begin()
    made.turn()
    made.loop.revoke([result.id], terminate=True)
    assert made.pool.cancelled == [job.id]


def test_a_revoked_task_that_waits_for_its_time_is_not_run(app: Any, running: Any) -> None:
    ran: list[int] = []
    app.task(name="t")(lambda: ran.append(1))
    worker = running(app)
    result = app.send_task("t", countdown=0.5)
    app.control.revoke(result.id)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=10)
    assert ran == []
    assert worker.context.loop.idle


def test_revoke_with_terminate_ends_a_process(app_on_sqlite: Any, running: Any) -> None:
    app = app_on_sqlite
    app.conf.worker_enable_remote_control = True

    @app.task(name="long", track_started=True)
    def long() -> None:
        time.sleep(60)

    worker = running(app, pool="prefork", concurrency=1)
    pids = worker.context.pool.info()["processes"]
    result = long.delay()
    end = time.monotonic() + 10
    while result.state != "STARTED" and time.monotonic() < end:
        time.sleep(0.01)
    app.control.revoke(result.id, terminate=True, signal="SIGKILL")
    with pytest.raises(TaskRevokedError, match="terminated"):
        result.get(timeout=10)
    end = time.monotonic() + 5
    while worker.context.pool.info()["processes"] in (pids, []) and time.monotonic() < end:
        time.sleep(0.01)
    assert worker.context.pool.info()["processes"] != pids
