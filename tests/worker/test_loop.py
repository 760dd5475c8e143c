"""The loop: how much it takes, what it counts, when it waits, and what it does with what comes again."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from umbel import Umbel
from umbel.app.outcome import Verdict
from umbel.model.ids import uuid
from umbel.worker.pace import MOST
from umbel_kernel.errors import NotSupported, OperationalError, TimeLimitExceeded, WorkerLostError
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.pool import Outcome


@pytest.fixture
def tasks(app: Any) -> None:
    app.task(name="early")(lambda: None)
    app.task(name="late", acks_late=True)(lambda: None)


pytestmark = pytest.mark.usefixtures("tasks")


def _send(app: Any, count: int, name: str = "late", **options: Any) -> list[Any]:
    return [app.send_task(name, **options) for _ in range(count)]


def _send_due(made: Any, count: int, seconds: float) -> None:
    """Send tasks as a stranger does: the broker knows nothing of their time."""
    eta = (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()
    headers = {"task": "late", "retries": 0, "timelimit": [None, None], "eta": eta}
    body = b"[[], {}, {}]"
    made.broker.publish([Message(body, made.queue.name, headers={**headers, "id": uuid()}) for _ in range(count)])


# How much it takes


@pytest.mark.parametrize(("multiplier", "held"), [(1, 2), (2, 4), (4, 8)])
def test_it_holds_as_many_as_the_multiplier_says_while_tasks_are_long(
    rig: Any, app: Any, multiplier: int, held: int
) -> None:
    made = rig(size=2, multiplier=multiplier)
    _send(app, 20)
    for _ in range(3):
        made.turn()
    assert made.held == held
    assert len(made.pool.waiting) == 2


def test_a_multiplier_of_one_holds_no_more_than_can_run_however_short_tasks_are(rig: Any, app: Any) -> None:
    made = rig(size=2, multiplier=1)
    made.loop.pace.mean, made.loop.pace.done = 0.00001, 10_000
    _send(app, 50)
    most = 0
    for _ in range(100):
        made.turn()
        most = max(most, made.held, len(made.loop.running) + len(made.loop.ready))
        while made.pool.waiting:
            made.pool.end(made.pool.begin(), app)
    assert most == 2
    assert (made.waiting, made.held) == (0, 0)


def test_a_multiplier_of_zero_has_no_limit(rig: Any, app: Any) -> None:
    made = rig(size=2, multiplier=0)
    _send(app, 2 * MOST + 10)
    for _ in range(5):
        made.turn()
    assert made.held == 2 * MOST + 10
    assert len(made.pool.waiting) == 2


def test_more_are_held_while_tasks_are_short(rig: Any, app: Any) -> None:
    made = rig(size=2, multiplier=1 + 1)
    made.loop.pace.mean, made.loop.pace.done = 0.001, 10_000
    _send(app, 100)
    made.turn()
    assert made.held == 2 + 40


def test_what_waits_for_its_time_takes_no_room(rig: Any, app: Any) -> None:
    made = rig(size=2, multiplier=1)
    made.loop.waiting.parks = False
    _send_due(made, 30, 600)
    for _ in range(30):
        made.turn()
    assert made.waiting == 0
    (now,) = _send(app, 1)
    made.turn()
    assert [job.headers["id"] for job in made.pool.waiting.values()] == [now.id]


def test_the_number_that_wait_for_their_time_can_be_limited(rig: Any, app: Any) -> None:
    made = rig(size=2, multiplier=2, eta_limit=4)
    made.loop.waiting.parks = False
    _send_due(made, 30, 600)
    for _ in range(30):
        made.turn()
    assert len(made.loop.later) == 4
    assert made.waiting == 26


def test_a_far_time_is_left_to_a_broker_that_can_wait(rig: Any, app: Any) -> None:
    made = rig(size=2)
    _send_due(made, 3, 600)
    made.turn()
    assert (len(made.loop.later), made.held) == (0, 0)
    due = made.consumer._store.queues[made.queue.name].next_due()
    assert due == pytest.approx(time.monotonic() + 600, abs=5)


def test_the_limit_follows_the_size_of_the_pool(rig: Any, app: Any) -> None:
    made = rig(size=2, multiplier=1)
    _send(app, 20)
    made.turn()
    made.pool._size = 5
    made.turn()
    assert made.held == 5


# What it counts


def test_counters_come_back_to_zero_whatever_becomes_of_jobs(rig: Any, app: Any) -> None:
    made = rig(size=4)
    pool = made.pool
    _send(app, 6, "early")
    _send(app, 6)
    made.loop.pace.mean, made.loop.pace.done = 0.001, 10_000
    made.turn()
    made.turn()
    told = [pool.begin() for _ in range(2)]
    made.turn()
    both = [pool.begin() for _ in range(2)]  # told of in the same collect as their ends
    unsaid = [pool.begin(tell=False) for _ in range(2)]  # never told of
    pool.end(told[0], app)
    pool.end(told[1], app, error=WorkerLostError("killed"))
    pool.end(both[0], app)
    pool.end(both[1], app, error=TimeLimitExceeded(1))
    pool.end(unsaid[0], app)
    pool.end(unsaid[1], app, verdict=Verdict.DEAD, text="unreadable")
    made.turn()
    early = sum(not held.plan.late and not held.started for held in made.loop.running.values())
    assert made.counters == (early, 0)
    made.loop.revoke([job.headers["id"] for job in list(pool.waiting.values())[:2]], terminate=False)
    made.lose()
    assert made.counters == (0, 0)
    made.connect()
    made.turn()
    made.turn()
    while pool.waiting:
        pool.end(pool.begin(), app)
    made.turn()
    assert made.counters == (0, 0)
    assert (made.waiting, made.held) == (0, 0)


def test_giving_back_leaves_only_what_has_begun(rig: Any, app: Any) -> None:
    made = rig(size=2)
    made.loop.waiting.parks = False
    _send_due(made, 1, 600)
    _send(app, 6, "early")
    made.loop.pace.mean, made.loop.pace.done = 0.01, 10_000
    made.turn()
    begun = made.pool.begin()
    made.turn()
    assert made.loop.give_back() == 6
    made.settling.flush(force=True)
    assert made.waiting == 6
    assert made.counters == (0, 1)
    made.pool.end(begun, app)
    made.loop.collect()
    assert made.counters == (0, 0)
    assert made.held == 0


# When it waits


def test_it_waits_when_there_is_nothing_to_do(rig: Any, app: Any) -> None:
    made = rig()
    assert made.loop._timeout(None) >= 60
    assert made.loop._timeout(7) == 7


@pytest.mark.parametrize("name", ["early", "late"])
def test_it_waits_while_long_tasks_run(rig: Any, app: Any, name: str) -> None:
    made = rig(size=2)
    _send(app, 8, name)
    made.turn()
    made.pool.begin()
    made.pool.begin()
    made.turn()
    assert made.loop._timeout(None) >= 60


def test_an_early_acknowledgement_is_looked_for_soon(rig: Any, app: Any) -> None:
    made = rig(size=2)
    _send(app, 1, "early")
    made.turn()
    assert made.loop._timeout(None) < 0.01
    made.pool.begin()
    made.turn()
    assert made.loop._timeout(None) >= 60


# What comes again


def test_a_lease_that_ran_out_here_does_not_run_a_task_twice(rig: Any, app: Any) -> None:
    made = rig(size=2, multiplier=4)
    _send(app, 4)
    made.turn()
    begun = made.pool.begin()
    with made.consumer._store.lock:
        made.consumer._store.give_back(list(made.consumer._held), time.monotonic())
        made.consumer._held.clear()
    assert made.waiting == 4
    made.turn()
    made.turn()
    assert len(made.pool.waiting) + len(made.loop.ready) == 3
    made.pool.end(begun, app)
    made.turn()
    while made.pool.waiting:
        made.pool.end(made.pool.begin(), app)
        made.turn()
    assert (made.waiting, made.held) == (0, 0)


def test_a_message_that_was_sent_twice_and_comes_again_is_acknowledged_twice(rig: Any, app: Any) -> None:
    made = rig(size=1)
    (result,) = _send(app, 1)
    made.turn()
    job = made.pool.begin()
    made.broker.publish([Message(job.body, made.queue.name, headers=dict(job.headers), correlation_id=result.id)])
    other = made.broker.consumer([made.queue])
    assert len(other.receive(1, 0)) == 1
    other.close()
    made.turn()
    made.pool.end(job, app)
    made.turn()
    assert (made.waiting, made.held) == (0, 0)


# What nobody expected


def test_a_fault_in_deciding_one_message_keeps_the_others(rig: Any, app: Any, monkeypatch: Any, caplog: Any) -> None:
    made = rig(size=4)
    bad, good = _send(app, 2)
    real = made.loop.dispatch.decide

    def decide(delivery: Any) -> Any:
        if delivery.headers["id"] == bad.id:
            raise RuntimeError("a fault of a receiver")
        return real(delivery)

    monkeypatch.setattr(made.loop.dispatch, "decide", decide)
    made.turn()
    made.turn()
    assert [job.headers["id"] for job in made.pool.waiting.values()] == [good.id]
    assert made.broker.size(["dead"]) == {"dead": 1}
    assert "a fault of a receiver" in caplog.text


def test_a_fault_in_settling_one_task_keeps_the_others(rig: Any, app: Any, caplog: Any) -> None:
    made = rig(size=4)
    _send(app, 2)
    made.turn()
    bad, good = made.pool.begin(), made.pool.begin()
    del made.pool.running[bad.id]
    made.pool.said.finished.append(Outcome(bad.id, ("no", "outcome")))
    made.pool.end(good, app)
    made.turn()
    assert made.held == 1
    assert f"late[{bad.headers['id']}] came to cannot be settled" in caplog.text
    assert made.counters == (0, 0)


def test_a_lost_connection_while_messages_are_decided_loses_none(rig: Any, app: Any, monkeypatch: Any) -> None:
    made = rig(size=4)
    _send(app, 2)
    _send_due(made, 1, 600)
    _send(app, 2)

    def cut(*args: Any, **named: Any) -> None:
        raise OperationalError("cut")

    monkeypatch.setattr(made.consumer, "reject", cut)
    with pytest.raises(OperationalError):
        made.turn()
    made.lose()
    assert made.waiting == 5


def test_messages_with_hostile_headers_are_told_of_in_short(rig: Any, app: Any, caplog: Any) -> None:
    made = rig()
    nested: Any = []
    for _ in range(5000):
        nested = [nested]
    delivery = Message(b"[]", made.queue.name, headers={"task": "nobody", "id": "1"})
    made.broker.publish([delivery])
    (taken,) = made.consumer.receive(1, 1)
    taken.headers["deep"] = nested
    made.loop.accept([taken])
    assert "unregistered task of type 'nobody'" in caplog.text
    assert len(caplog.text) < 3000


# On a real broker that sends ahead


def test_tasks_that_wait_for_their_time_do_not_stop_an_amqp_worker(amqp_url: str, app: Any, running: Any) -> None:
    queue = f"test-{uuid()}"
    made = Umbel("waits", broker=amqp_url, backend=f"memory://{queue}", set_as_current=False)
    made.conf.task_default_queue = queue
    made.task(name="now")(lambda: "now")
    try:
        for _ in range(20):
            made.send_task("now", countdown=600)
        worker = running(made, concurrency=1, prefetch_multiplier=1)
        assert made.send_task("now").get(timeout=10) == "now"
        assert len(worker.context.loop.later) == 0, "they wait in the broker, also on a classic queue"
        assert made.connections.broker().size([queue]) == {queue: 0}
    finally:
        made.connections.broker().delete([queue])


def test_a_queue_that_is_deleted_under_the_worker_is_made_again(amqp_url: str, app: Any, running: Any) -> None:
    queue = f"test-{uuid()}"
    made = Umbel("again", broker=amqp_url, backend=f"memory://{queue}", set_as_current=False)
    made.conf.task_default_queue = queue
    made.task(name="now")(lambda: "now")
    try:
        worker = running(made, concurrency=1)
        supervisor = worker.context.consumer
        made.connections.broker().delete([queue])
        end = time.monotonic() + 10
        while not (supervisor.restarts and supervisor.consuming) and time.monotonic() < end:
            time.sleep(0.01)
        assert supervisor.restarts == 1
        assert made.send_task("now").get(timeout=10) == "now"
    finally:
        made.connections.broker().delete([queue])


def _taken_while_short(made: Any, app: Any, count: int) -> None:
    """A loop that holds so many tasks, because they were short until now, and runs the first of them."""
    made.loop.pace.mean, made.loop.pace.done = 0.00001, 10_000
    _send(app, count)
    made.turn()
    assert made.held == count
    made.pool.begin()
    made.turn()


def test_what_was_taken_while_tasks_were_short_goes_back_when_they_turn_long(rig: Any, app: Any) -> None:
    made = rig(size=1, multiplier=4)
    _taken_while_short(made, app, 200)
    assert made.waiting == 0
    made.loop.pace.moved -= 1.0
    made.turn()
    assert made.waiting == 200 - 4
    assert len(made.loop.running) + len(made.loop.ready) == 4
    made.turn()
    assert made.waiting == 200 - 4, "it takes them again at once"
    first = min(made.loop.running)
    assert first not in made.pool.waiting


def test_what_goes_back_is_what_came_last(rig: Any, app: Any) -> None:
    made = rig(size=1, multiplier=2)
    made.loop.pace.mean, made.loop.pace.done = 0.00001, 10_000
    ids = [result.id for result in _send(app, 50)]
    made.turn()
    made.pool.begin()
    made.turn()
    made.loop.pace.moved -= 1.0
    made.turn()
    kept = [held.task_id for held in (*made.loop.running.values(), *made.loop.ready)]
    assert kept == ids[:2]


def test_nothing_goes_back_while_tasks_end(rig: Any, app: Any) -> None:
    made = rig(size=1, multiplier=2)
    _taken_while_short(made, app, 100)
    for _ in range(20):
        made.loop.pace.moved -= 1.0
        job = next(iter(made.pool.running.values()))
        made.pool.end(job, app, runtime=0.00001)
        made.pool.begin()
        made.turn()
    assert made.waiting == 0


@pytest.mark.parametrize("multiplier", [0, 1])
def test_nothing_goes_back_where_nothing_was_taken_beyond_the_limit(rig: Any, app: Any, multiplier: int) -> None:
    made = rig(size=1, multiplier=multiplier)
    made.loop.pace.mean, made.loop.pace.done = 0.00001, 10_000
    _send(app, 50)
    made.turn()
    held = made.held
    made.pool.begin()
    made.turn()
    made.loop.pace.moved -= 1.0
    made.turn()
    assert made.held == held


def test_the_pool_is_watched_by_each_consumer_in_turn(rig: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made, asked = rig(), []
    monkeypatch.setattr(made.pool, "watched", lambda by: asked.append(by) or by(7))
    made.lose()
    assert [by(7) for by in asked] == [False]
    made.connect()
    assert asked[1:] == [made.consumer.watch]


def test_far_tasks_are_looked_through_in_growing_batches(rig: Any, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = rig(size=2, multiplier=4)
    _send_due(made, 3000, 600)
    taken, receive = [], made.consumer.receive

    def watched(limit: int, timeout: float | None) -> Any:
        found = receive(limit, timeout)
        taken.append(len(found))
        return found

    monkeypatch.setattr(made.consumer, "receive", watched)
    for _ in range(12):
        made.turn()
    assert taken[:8] == [8, 16, 32, 64, 128, 256, 512, 1000]
    assert sum(taken) == 3000 and (made.waiting, len(made.loop.later)) == (3000, 0)
    _send(app, 30)
    for _ in range(12):
        made.turn()
    assert made.loop.waiting.ahead == 0 and made.held == 8, "the rest is for other workers"


def test_what_is_due_within_seconds_is_held_while_it_is_little(rig: Any, app: Any) -> None:
    made = rig(size=2, multiplier=4)
    _send_due(made, 600, 4)
    _send_due(made, 5, 60)
    for _ in range(12):
        made.turn()
    assert (len(made.loop.later), made.waiting) == (500, 105)


def test_a_broker_that_cannot_let_messages_wait_after_all_leaves_them_to_the_worker(
    rig: Any, app: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = rig(size=2, multiplier=4)

    def reject(deliveries: Any, **options: Any) -> None:
        raise NotSupported("not here")

    monkeypatch.setattr(made.consumer, "reject", reject)
    _send_due(made, 30, 600)
    for _ in range(10):
        made.turn()
    assert (len(made.loop.later), made.held, made.waiting) == (30, 30, 0)
    assert caplog.text.count("tasks wait in this worker until their time: not here") == 1
