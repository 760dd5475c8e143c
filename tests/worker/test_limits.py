"""Limits on tasks and on processes, in a real pool of processes; and a pool that cannot keep them."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import pytest

from umbel.model.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded

POOLS = ["prefork", "asyncio", "gevent", pytest.param("eventlet", marks=pytest.mark.slow)]
"""Those that keep limits."""


@pytest.fixture
def app(app_on_sqlite: Any, request: pytest.FixtureRequest) -> Any:
    """For the pool of coroutines the tasks are some."""
    made = app_on_sqlite

    def sleep_plainly(seconds: float) -> str:
        time.sleep(seconds)
        return "slept"

    async def sleep_async(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "slept"

    def tidy_plainly() -> str:
        try:
            time.sleep(30)
        except SoftTimeLimitExceeded:
            return "tidied up"
        return "slept"

    async def tidy_async() -> str:
        try:
            await asyncio.sleep(30)
        except SoftTimeLimitExceeded:
            return "tidied up"
        return "slept"

    awaits = getattr(request.node, "callspec", None) and request.node.callspec.params.get("pool") == "asyncio"
    sleep = made.task(name="sleep")(sleep_async if awaits else sleep_plainly)
    made.task(name="tidy")(tidy_async if awaits else tidy_plainly)
    made.task(name="bound", soft_time_limit=0.2)(sleep.run)
    made.task(name="cut", time_limit=0.3)(sleep.run)
    made.task(name="pid")(os.getpid)

    @made.task(name="grow")
    def grow() -> int:
        made.hoard = bytearray(os.urandom(1) * (200 << 20))
        return os.getpid()

    return made


@pytest.mark.parametrize("pool", POOLS)
def test_limits_of_the_call_and_of_the_task(app: Any, running: Any, pool: str) -> None:
    running(app, pool=pool, concurrency=2)
    before = time.monotonic()
    cut = app.send_task("sleep", (30,), time_limit=0.3)
    bound = app.send_task("sleep", (30,), soft_time_limit=0.2)
    with pytest.raises(TimeLimitExceeded, match=r"0\.3"):
        cut.get(timeout=10)
    with pytest.raises(SoftTimeLimitExceeded):
        bound.get(timeout=10)
    assert app.send_task("tidy", soft_time_limit=0.2).get(timeout=10) == "tidied up"
    with pytest.raises(SoftTimeLimitExceeded):
        app.send_task("bound", (30,)).get(timeout=10)
    with pytest.raises(TimeLimitExceeded):
        app.send_task("cut", (30,)).get(timeout=10)
    assert app.send_task("bound", (0.4,), soft_time_limit=5).get(timeout=10) == "slept"
    assert time.monotonic() - before < 10


@pytest.mark.parametrize("pool", POOLS)
def test_limits_of_the_worker(app: Any, running: Any, pool: str) -> None:
    running(app, pool=pool, concurrency=2, soft_time_limit=0.2, time_limit=0.5)
    assert app.send_task("tidy").get(timeout=10) == "tidied up"
    with pytest.raises(SoftTimeLimitExceeded):
        app.send_task("sleep", (30,)).get(timeout=10)
    app.conf.task_soft_time_limit = None
    assert app.send_task("sleep", (0.3,), soft_time_limit=1).get(timeout=10) == "slept"
    with pytest.raises(TimeLimitExceeded):
        app.send_task("sleep", (30,), soft_time_limit=20).get(timeout=10)


@pytest.mark.parametrize("pool", POOLS)
def test_a_task_over_its_hard_limit_is_not_run_again(app: Any, running: Any, pool: str) -> None:
    app.tasks["sleep"].acks_late = True
    worker = running(app, pool=pool, concurrency=1)
    with pytest.raises(TimeLimitExceeded):
        app.send_task("sleep", (30,), time_limit=0.2).get(timeout=10)
    assert app.send_task("sleep", (0,)).get(timeout=10) == "slept"
    assert worker.context.loop.done == 2


def test_children_are_replaced_after_so_many_tasks(app: Any, running: Any) -> None:
    running(app, pool="prefork", concurrency=1, max_tasks_per_child=2)
    pids = [app.send_task("pid").get(timeout=10) for _ in range(6)]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [2, 2, 2]


def test_children_are_replaced_when_they_have_grown(app: Any, running: Any) -> None:
    running(app, pool="prefork", concurrency=1, max_memory_per_child=150_000)
    first = app.send_task("grow").get(timeout=10)
    assert app.send_task("pid").get(timeout=10) != first


def test_a_pool_of_threads_keeps_soft_limits_and_says_that_it_cannot_keep_hard_ones(
    app: Any, running: Any, caplog: Any
) -> None:
    @app.task(name="naps", soft_time_limit=0.2)
    def naps() -> str:
        try:
            for _ in range(3000):
                time.sleep(0.01)
        except SoftTimeLimitExceeded:
            return "tidied up"
        return "slept"

    app.task(name="spins", soft_time_limit=0.2)(lambda: [None for _ in iter(int, 1)])
    running(app, pool="threads", concurrency=2)
    said = [r.getMessage() for r in caplog.records if r.name == "umbel.worker.limits"]
    assert said == [
        "the pool 'threads' cannot enforce hard time limits: tasks that have one run as long as they take, here cut; "
        "use a pool of processes, as with -P prefork"
    ]
    assert app.send_task("naps").get(timeout=20) == "tidied up"
    with pytest.raises(SoftTimeLimitExceeded, match=r"0\.2"):
        app.send_task("spins").get(timeout=20)
    assert app.send_task("cut", (0.5,)).get(timeout=20) == "slept"
    assert app.send_task("sleep", (0.1,), time_limit=0.05).get(timeout=20) == "slept"
    said = [r.getMessage() for r in caplog.records if r.name == "umbel.worker.limits"]
    assert len(said) == 2
    assert "task sleep has a hard time limit of 0.05 s, which the pool 'threads' cannot enforce" in said[1]
    assert [app.send_task("pid").get(timeout=20) for _ in range(20)] == [os.getpid()] * 20
