"""What short tasks do while a long one runs: go to another worker, get settled, find a free slot."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from umbel import Umbel
from umbel.model.ids import uuid
from umbel_testkit.waiting import eventually


@pytest.fixture(params=["memory", "redis", "amqp"])
def shared(request: pytest.FixtureRequest, app: Any) -> Iterator[Any]:
    """An app whose queue is on one broker or another."""
    if request.param == "memory":
        yield app
        return
    queue = f"test-{uuid()}"
    url = request.getfixturevalue(f"{request.param}_url")
    made = Umbel("shares", broker=url, backend=f"memory://{queue}", set_as_current=False)
    made.conf.task_default_queue = queue
    yield made
    made.connections.broker().delete([queue])
    made.close()


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_two_workers_share_a_queue_when_one_of_them_is_held_up(shared: Any, running: Any, pool: str) -> None:
    gate, ran = threading.Event(), set[int]()

    short = shared.task(name="short", ignore_result=True)(ran.add)
    long = shared.task(name="long", ignore_result=True)(lambda: gate.wait(20))
    one = running(shared, pool=pool, concurrency=1, prefetch_multiplier=2, hostname="one@test")
    for number in range(500):
        short.delay(number)
    eventually(lambda: len(ran) == 500, within=10, what="the short tasks end")
    shared.send_many([(long.name, (), {}, {}), *((short.name, (number,), {}, {}) for number in range(500, 900))])
    eventually(lambda: one.context.loop.running, within=10, what="one worker has taken what it takes")
    try:
        running(shared, pool=pool, concurrency=1, hostname="two@test")
        eventually(lambda: len(ran) >= 900 - 1, within=10, what="the other worker does what waits")
        assert not gate.is_set()
    finally:
        gate.set()
    eventually(lambda: len(ran) == 900, within=10, what="the rest is done")
    assert ran == set(range(900))


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_what_ended_before_a_long_task_is_settled_while_that_one_runs(app: Any, running: Any, pool: str) -> None:
    """One thread takes, runs and settles, but nothing waits for it while it is in a long task."""
    gate, begun = threading.Event(), threading.Event()

    def wait() -> str:
        begun.set()
        gate.wait(20)
        return "waited"

    app.task(name="quick")(lambda: "quick")
    app.task(name="wait")(wait)
    worker = running(app, pool=pool, concurrency=1, prefetch_multiplier=100)
    for _ in range(50):
        assert app.send_task("quick").get(timeout=10) == "quick"
    sent = app.send_many([*[("quick", (), {}, {})] * 5, ("wait", (), {}, {}), ("quick", (), {}, {})])
    try:
        assert begun.wait(10)
        assert [result.get(timeout=2) for result in sent[:5]] == ["quick"] * 5
        consumer = worker.context.loop.consumer
        eventually(lambda: len(consumer._held) <= 1, within=2, what="the task that runs is acknowledged")
        assert not sent[5].ready()
        assert not sent[6].ready()
    finally:
        gate.set()
    assert [result.get(timeout=10) for result in sent[5:]] == ["waited", "quick"]


@pytest.mark.parametrize("pool", ["solo", "threads"])
def test_a_message_that_comes_while_a_task_runs_finds_a_free_slot(app: Any, running: Any, pool: str) -> None:
    slots = 1 if pool == "solo" else 3
    gate, begun = threading.Event(), threading.Semaphore(0)

    def wait() -> None:
        begun.release()
        gate.wait(20)

    app.task(name="quick")(lambda: "quick")
    app.task(name="wait")(wait)
    running(app, pool=pool, concurrency=slots)
    for _ in range(50):
        assert app.send_task("quick").get(timeout=10) == "quick"
    try:
        for _ in range(slots):
            app.send_task("wait")
            assert begun.acquire(timeout=2), "a free slot was not used"
    finally:
        gate.set()
    assert app.send_task("quick").get(timeout=10) == "quick"
