"""Rate limits: how often tasks of one kind begin in a worker, and that what waits holds up nothing else."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from umbel import Umbel
from umbel.model.exceptions import ConfigurationError
from umbel.worker import rates
from umbel.worker.commands import Commands
from umbel.worker.rates import MOST_WAITING, SLACK, Bucket, per_second


@pytest.mark.parametrize(
    ("limit", "rate"),
    [
        (None, 0), (0, 0), ("0", 0), ("0/m", 0), ("", 0), (3, 3), (0.5, 0.5), ("7", 7), ("7/s", 7), ("30/m", 0.5),
        ("9/h", 0.0025), ("1.5/s", 1.5),
    ],
)  # fmt: skip
def test_a_limit_is_a_number_a_second(limit: Any, rate: float) -> None:
    assert per_second(limit) == pytest.approx(rate)


@pytest.mark.parametrize("limit", ["often", "10/d", "/m", "-1/s", -3, "inf/s", "nan", True, [1], "10/m/s"])
def test_what_is_no_limit_is_refused_with_its_name(limit: Any) -> None:
    with pytest.raises(ValueError, match=r"is no rate limit|could not convert"):
        per_second(limit)


def test_a_bucket_has_one_token(clock: Any) -> None:
    bucket = Bucket(0.5, clock.monotonic)
    assert (bucket.take(), bucket.take(), bucket.wait()) == (True, False, 2.0)
    clock.now += 1.5
    assert (bucket.take(), bucket.wait()) == (False, 0.5)
    clock.now += 100
    assert (bucket.take(), bucket.take()) == (True, False)


def test_a_bucket_keeps_its_rate_though_it_is_asked_a_little_late_each_time(clock: Any) -> None:
    bucket, taken, begin = Bucket(100, clock.monotonic), 0, clock.now
    while clock.now < begin + 10:
        while bucket.take():
            taken += 1
        clock.now += bucket.wait() + 0.003
    assert 1000 <= taken <= 1000 + 100 * SLACK + 1


@pytest.fixture
def tasks(app: Umbel) -> None:
    app.task(name="slow", rate_limit="6/m", acks_late=True)(lambda: None)
    app.task(name="free", acks_late=True)(lambda: None)


def _rig(rig: Callable[..., Any], app: Umbel, **options: Any) -> Any:
    made = rig(**options)
    made.loop.rates.read(app.tasks)
    return made


def _begin(made: Any, app: Umbel, seconds: float = 0.0) -> list[str]:
    """Let time go by, and run whatever begins; returns the ids."""
    made.clock.now += seconds
    ran = []
    for _ in range(10):
        made.turn()
        while made.pool.waiting:
            job = made.pool.begin()
            ran.append(job.headers["id"])
            made.pool.end(job, app)
    return ran


@pytest.mark.usefixtures("tasks")
def test_limited_tasks_begin_evenly_spaced_and_in_order(rig: Any, app: Umbel) -> None:
    made = _rig(rig, app, size=4, multiplier=4)
    sent = [app.send_task("slow").id for _ in range(4)]
    assert _begin(made, app) == sent[:1]
    assert _begin(made, app, 9.9) == []
    assert _begin(made, app, 0.2) == sent[1:2]
    assert _begin(made, app, 10) == sent[2:3]
    assert _begin(made, app, 100) == sent[3:]
    assert (made.held, made.waiting, len(made.loop.later), made.counters) == (0, 0, 0, (0, 0))


@pytest.mark.usefixtures("tasks")
def test_what_waits_for_its_limit_takes_no_room_from_others(rig: Any, app: Umbel) -> None:
    made = _rig(rig, app, size=2, multiplier=1)
    for _ in range(50):
        app.send_task("slow")
    others = [app.send_task("free").id for _ in range(10)]
    ran = []
    for _ in range(20):
        ran += _begin(made, app)
    assert ran[1:] == others
    assert (made.held, made.waiting) == (49, 0)


@pytest.mark.usefixtures("tasks")
def test_more_than_can_wait_here_stay_in_a_broker_that_cannot_set_them_aside(
    rig: Any, app: Umbel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "MOST_WAITING", 20)
    made = _rig(rig, app, size=2, multiplier=4)
    made.loop.waiting.parks = False
    for _ in range(60):
        app.send_task("slow")
    for _ in range(10):
        _begin(made, app)
    # A turn may take as many as it has room for, once there is room for one.
    assert 20 <= made.held <= 20 + 8
    assert made.held + made.waiting == 59


@pytest.mark.usefixtures("tasks")
def test_they_go_back_to_a_broker_that_can_and_do_not_hold_up_others(
    rig: Any, app: Umbel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "MOST_WAITING", 20)
    made = _rig(rig, app, size=2, multiplier=4)
    for _ in range(60):
        app.send_task("slow")
    other = app.send_task("free").id
    ran = []
    for _ in range(10):
        ran += _begin(made, app)
    assert ran[1:] == [other]
    assert made.held == 20
    assert made.consumer._store.queues[made.queue.name].next_due() - time.monotonic() > 60


@pytest.mark.usefixtures("tasks")
def test_a_token_is_not_spent_on_what_does_not_run(rig: Any, app: Umbel) -> None:
    made = _rig(rig, app)
    sent = [app.send_task("slow").id for _ in range(4)]
    assert _begin(made, app) == sent[:1]
    made.revoked.add(sent[1:3])
    assert _begin(made, app, 10.1) == sent[3:]
    assert made.held == 0


@pytest.mark.usefixtures("tasks")
def test_tokens_do_not_gather_while_all_slots_are_busy(rig: Any, app: Umbel) -> None:
    made = _rig(rig, app, size=1, multiplier=4)
    first = app.send_task("free")
    sent = [app.send_task("slow").id for _ in range(3)]
    made.turn()
    busy = made.pool.begin()
    assert busy.headers["id"] == first.id
    made.clock.now += 600
    made.turn()
    made.pool.end(busy, app)
    assert _begin(made, app) == sent[:1]
    assert _begin(made, app, 10.1) == sent[1:2]


@pytest.mark.usefixtures("tasks")
def test_a_limit_is_changed_for_those_that_wait(rig: Any, app: Umbel) -> None:
    made = _rig(rig, app, size=4)
    sent = [app.send_task("slow").id for _ in range(6)]
    assert _begin(made, app) == sent[:1]
    made.loop.rates.set("slow", "60/m")
    assert _begin(made, app) == sent[1:2]
    assert _begin(made, app, 1.01) == sent[2:3]
    made.loop.rates.set("slow", None)
    assert _begin(made, app) == sent[3:]
    made.loop.rates.set("free", "1/h")
    more = [app.send_task("free").id for _ in range(3)]
    assert _begin(made, app) == more[:1]
    with pytest.raises(ValueError, match="often"):
        made.loop.rates.set("free", "often")
    assert _begin(made, app, 3601) == more[1:2]


@pytest.mark.usefixtures("tasks")
def test_a_lost_connection_empties_the_lines(rig: Any, app: Umbel) -> None:
    made = _rig(rig, app)
    sent = [app.send_task("slow").id for _ in range(4)]
    assert _begin(made, app) == sent[:1]
    made.lose()
    made.connect()
    assert _begin(made, app, 10.1) == sent[1:2]
    assert _begin(made, app, 10.1) == sent[2:3]
    assert _begin(made, app, 10.1) == sent[3:]


@pytest.mark.usefixtures("tasks")
def test_lines_full_of_what_is_held_no_more_do_not_stop_the_worker(rig: Any, app: Umbel) -> None:
    made = _rig(rig, app)
    made.loop.rates.lines["slow"].jobs.extend(range(10**6, 10**6 + MOST_WAITING))
    assert not made.loop.rates.full
    assert len(made.loop.rates) == 0


@pytest.mark.usefixtures("tasks")
def test_the_end_gives_them_back(rig: Any, app: Umbel) -> None:
    made = _rig(rig, app)
    for _ in range(4):
        app.send_task("slow")
    _begin(made, app)
    assert made.loop.give_back() == 3
    made.loop.settling.flush()
    assert (made.held, made.waiting) == (0, 3)


@pytest.mark.usefixtures("tasks")
def test_the_number_held_for_their_time_is_another_one(rig: Any, app: Umbel) -> None:
    made = _rig(rig, app, eta_limit=3)
    for _ in range(6):
        app.send_task("slow")
    other = app.send_task("free").id
    assert other in _begin(made, app)


@pytest.mark.parametrize(("kind", "pool"), [("memory", "threads"), ("sqlite", "prefork"), ("redis", "prefork")])
def test_in_a_real_worker(kind: str, pool: str, make_current: Any, urls_of: Any, running: Any) -> None:
    url = urls_of(kind)[1]
    app = make_current(Umbel("rated", broker=url, backend=url, set_as_current=False))
    app.task(name="rated", rate_limit="5/s")(time.time)
    app.task(name="free")(time.time)
    running(app, pool=pool, concurrency=2)
    limited = [app.send_task("rated") for _ in range(6)]
    free = [app.send_task("free") for _ in range(20)]
    others = [result.get(timeout=20) for result in free]
    begun = sorted(result.get(timeout=20) for result in limited)
    assert begun[-1] - begun[0] >= 0.5  # a second, but for what the first may have been late
    assert sum(each < begun[-1] for each in others) == 20


def test_the_default_of_all_tasks_and_the_switch(app: Umbel, running: Any) -> None:
    app.conf.task_default_rate_limit = "1/h"
    app.task(name="rated")(lambda: None)
    app.conf.worker_disable_rate_limits = True
    worker = running(app)
    for result in [app.send_task("rated") for _ in range(3)]:
        result.get(timeout=10)
    assert not worker.context.loop.rates.lines
    answer = Commands(worker, worker.context.loop, worker.context.revoked)
    assert "ok" in answer("rate_limit", {"task_name": "rated", "rate_limit": "2/h"})
    for result in [app.send_task("rated") for _ in range(3)]:
        result.get(timeout=10)


def test_a_limit_that_cannot_be_understood_ends_the_start(app: Umbel, running: Any) -> None:
    app.task(name="rated", rate_limit="10 a minute")(lambda: None)
    with pytest.raises((AssertionError, ConfigurationError), match="the rate limit of task rated"):
        running(app)


def test_remote_control_changes_it(app: Umbel, running: Any) -> None:
    app.task(name="rated", rate_limit="1/h")(lambda: None)
    worker = running(app)
    sent = [app.send_task("rated") for _ in range(5)]
    sent[0].get(timeout=10)
    answer = Commands(worker, worker.context.loop, worker.context.revoked)
    assert answer("rate_limit", {"task_name": "rated", "rate_limit": "often"})["error"].startswith("Invalid rate limit")
    assert answer("rate_limit", {"task_name": "none", "rate_limit": "1/m"}) == {"error": "unknown task"}
    assert answer("rate_limit", {"task_name": "rated", "rate_limit": "1000/s"}) == {
        "ok": "new rate limit set successfully"
    }
    for result in sent:
        result.get(timeout=10)
    assert answer("rate_limit", {"task_name": "rated", "rate_limit": 0}) == {"ok": "rate limit disabled successfully"}
    assert app.tasks["rated"].rate_limit == 0
