"""What follows from tasks: publish, then store, then acknowledge, also while the broker or the store is away."""

from __future__ import annotations

from typing import Any

import pytest

from umbel.app import outbox
from umbel.app.outbox import Outgoing
from umbel.app.outcome import Verdict
from umbel.worker import loop as loop_module
from umbel.worker.held import LOST_HEADER
from umbel.worker.pace import MOST
from umbel_kernel.errors import (
    BackendError,
    ChannelError,
    OperationalError,
    PublishError,
    TimeLimitExceeded,
    WorkerLostError,
)
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue


@pytest.fixture
def log(rig: Any, app: Any, monkeypatch: Any) -> Any:
    """A loop with one task, and a list of what it does to the broker and the store."""
    app.task(name="early")(lambda: None)
    app.task(name="late", acks_late=True)(lambda: None)
    app.task(name="kept", acks_late=True, acks_on_failure=False, acks_on_timeout=False)(lambda: None)
    made = rig(size=2)
    made.did, made.fail = [], {}

    def spy(thing: Any, name: str, say: Any) -> None:
        real = getattr(thing, name)

        def call(*args: Any, **named: Any) -> Any:
            made.did.append((name, say(args[0])))
            if name in made.fail:
                made.fail[name](*args)
            return real(*args, **named)

        monkeypatch.setattr(thing, name, call)

    spy(app.publisher, "publish", len)
    spy(app.backend, "store", len)
    made.spy = spy
    spy(made.consumer, "ack", len)
    return made


def _raise(error: Exception) -> Any:
    def fail(*_: Any) -> None:
        raise error

    return fail


def _follow(queue: str = "next") -> Outgoing:
    return Outgoing(Message(b"[]", queue, headers={"id": "follow", "task": "t"}), Queue(queue))


def _start(made: Any, name: str, count: int = 1) -> list[Any]:
    for _ in range(count):
        made.app.send_task(name)
    made.did.clear()
    made.turn()
    jobs = [made.pool.begin() for _ in range(count)]
    made.turn()
    return jobs


def test_the_order_is_publish_store_acknowledge(log: Any) -> None:
    (job,) = _start(log, "late")
    assert log.did == []
    log.pool.end(job, log.app, outgoing=[_follow()])
    log.turn()
    assert log.did == [("publish", 1), ("store", 1), ("ack", 1)]
    assert len(log.settling) == 0


def test_an_early_acknowledgement_is_made_at_the_start_and_once(log: Any) -> None:
    (job,) = _start(log, "early")
    assert log.did == [("ack", 1)]
    log.pool.end(job, log.app)
    log.turn()
    assert log.did == [("ack", 1), ("store", 1)]


def test_a_store_that_is_away_is_tried_again_with_pauses_and_nothing_is_acknowledged(log: Any, caplog: Any) -> None:
    (job,) = _start(log, "late")
    log.fail["store"] = _raise(OperationalError("the store is away"))
    log.pool.end(job, log.app)
    for _ in range(600):  # a minute, ten turns a second
        log.turn()
        log.clock.now += 0.1
    tries = [did for did in log.did if did[0] == "store"]
    assert 10 <= len(tries) <= 18
    assert ("ack", 1) not in log.did
    assert log.held == 1
    assert len([r for r in caplog.records if "cannot hand over" in r.message]) == len(tries)
    log.fail.clear()
    log.clock.now += 5
    log.turn()
    assert log.did[-1] == ("ack", 1)
    assert log.held == 0


def test_no_more_is_taken_than_before_while_the_store_is_away(log: Any) -> None:
    log.fail["store"] = _raise(OperationalError("the store is away"))
    log.loop.pace.mean, log.loop.pace.done = 0.0001, 10_000
    for _ in range(2000):
        log.app.send_task("late")
    for _ in range(100):
        log.turn()
        while log.pool.waiting:
            log.pool.end(log.pool.begin(), log.app)
    assert len(log.settling) <= MOST + log.pool.size
    assert log.waiting >= 2000 - MOST - log.pool.size
    log.fail.clear()
    log.clock.now += 5
    for _ in range(100):
        log.turn()
        while log.pool.waiting:
            log.pool.end(log.pool.begin(), log.app)
    assert (log.waiting, log.held, len(log.settling)) == (0, 0, 0)


def test_early_acknowledgements_do_not_wait_for_a_store_that_is_away(log: Any) -> None:
    first, second = _start(log, "late", 2)
    log.fail["store"] = _raise(OperationalError("the store is away"))
    log.pool.end(first, log.app)
    log.turn()
    log.did.clear()
    log.app.send_task("early")
    log.turn()
    log.pool.begin()
    log.turn()
    assert ("ack", 1) in log.did
    assert log.held == 2
    log.fail.clear()
    log.clock.now += 5
    log.did.clear()
    log.turn()
    assert log.did == [("store", 1), ("ack", 1)]
    assert log.held == 1
    log.pool.end(second, log.app)
    log.turn()
    assert log.held == 0


def test_of_a_batch_that_fails_halfway_only_the_rest_is_published_again(log: Any) -> None:
    follow = [_follow(f"q{n}") for n in range(1200)]
    taken: list[str] = []

    def half(batch: list[Outgoing], **_: Any) -> None:
        names = [each.message.routing_key for each in batch]
        if "q700" in names:
            taken.extend(names[:100])
            log.fail["publish"] = lambda batch, **_: taken.extend(each.message.routing_key for each in batch)
            raise PublishError("the connection was cut", [each.message for each in batch[100:]], 100)
        taken.extend(names)

    (job,) = _start(log, "late")
    log.fail["publish"] = half
    log.pool.end(job, log.app, outgoing=follow)
    log.turn()
    assert len(taken) == 600
    log.clock.now += 1
    log.turn()
    assert taken == [each.message.routing_key for each in follow]
    assert log.did[-2:] == [("store", 1), ("ack", 1)]


def test_one_message_that_the_broker_refuses_takes_no_other_with_it(log: Any, caplog: Any) -> None:
    (job,) = _start(log, "late")

    def refuse(batch: list[Outgoing], **_: Any) -> None:
        if any(each.message.routing_key == "bad" for each in batch):
            raise ChannelError("no right to write to 'bad'")

    log.fail["publish"] = refuse
    log.pool.end(job, log.app, outgoing=[_follow("a"), _follow("bad"), _follow("c")])
    log.turn()
    assert log.broker.size(["a", "bad", "c"]) == {"a": 1, "bad": 0, "c": 1}
    assert "no right to write to 'bad'" in caplog.text
    assert log.held == 0


@pytest.mark.parametrize("error", [BackendError("too large"), TypeError("a plugin's own fault")])
def test_a_result_that_the_store_refuses_is_told_to_the_caller_and_the_others_are_kept(
    log: Any, caplog: Any, error: Exception
) -> None:
    good, bad = _start(log, "late", 2)

    def refuse(records: Any) -> None:
        if any(record.task_id == bad.headers["id"] and record.state == "SUCCESS" for record in records):
            raise error

    log.fail["store"] = refuse
    log.pool.end(good, log.app)
    log.pool.end(bad, log.app)
    log.turn()
    assert log.app.AsyncResult(good.headers["id"]).get(timeout=1) == "done"
    refused = log.app.AsyncResult(bad.headers["id"])
    assert refused.state == "FAILURE"
    assert str(error) in str(refused.result)
    assert log.held == 0
    assert bad.headers["id"] in caplog.text


@pytest.mark.parametrize(
    ("name", "fields", "waiting"),
    [
        ("late", {"verdict": Verdict.ACK}, 0),
        ("late", {"verdict": Verdict.FAILED}, 0),
        ("late", {"verdict": Verdict.TIMED_OUT}, 0),
        ("late", {"verdict": Verdict.REJECT}, 0),
        ("late", {"verdict": Verdict.REQUEUE}, 1),
        ("early", {"verdict": Verdict.REQUEUE}, 0),
        ("kept", {"verdict": Verdict.FAILED}, 0),
        ("kept", {"verdict": Verdict.TIMED_OUT}, 0),
        ("kept", {"error": TimeLimitExceeded(1)}, 1),
    ],
)
def test_what_becomes_of_the_message(log: Any, name: str, fields: dict[str, Any], waiting: int) -> None:
    rejected = []
    log.spy(log.consumer, "reject", rejected.extend)
    (job,) = _start(log, name)
    log.shutdown.ending = loop_module.Ending.WARM  # takes nothing more
    log.pool.end(job, log.app, **fields)
    log.turn()
    assert log.held == 0
    assert log.waiting == waiting
    kept = name == "kept" or fields.get("verdict") is Verdict.REJECT
    # What took its process with it is sent anew, with a count, and its message is acknowledged.
    assert len(rejected) == (1 if (kept or waiting) and "error" not in fields else 0)


# A lost connection


def test_a_task_that_ended_while_the_connection_was_lost_is_not_run_again(log: Any) -> None:
    (job,) = _start(log, "late")
    log.lose()
    log.pool.end(job, log.app)
    log.loop.idle_turn(0, lambda seconds: None)
    assert log.app.AsyncResult(job.headers["id"]).get(timeout=1) == "done"
    assert log.waiting == 1
    log.connect()
    log.turn()
    log.turn()
    assert (log.waiting, log.held, len(log.pool.waiting)) == (0, 0, 0)


def test_a_task_that_runs_across_a_lost_connection_is_acknowledged_by_its_new_delivery(log: Any) -> None:
    (job,) = _start(log, "late")
    log.lose()
    log.connect()
    log.turn()
    assert len(log.pool.waiting) == 0
    assert log.held == 1
    log.pool.end(job, log.app)
    log.turn()
    assert (log.waiting, log.held) == (0, 0)
    assert log.counters == (0, 0)


def test_an_acknowledgement_that_was_lost_on_the_way_is_made_again(log: Any) -> None:
    (job,) = _start(log, "late")
    log.spy(log.consumer, "ack", len)
    log.fail["ack"] = _raise(OperationalError("cut"))
    log.pool.end(job, log.app)
    with pytest.raises(OperationalError):
        log.turn()
    log.fail.clear()
    log.lose()
    log.connect()
    log.turn()
    log.turn()
    assert (log.waiting, log.held, len(log.pool.waiting)) == (0, 0, 0)


def test_a_rejection_asks_for_another_run_also_after_a_lost_connection(log: Any) -> None:
    (job,) = _start(log, "late")
    log.lose()
    log.pool.end(job, log.app, verdict=Verdict.REQUEUE)
    log.loop.idle_turn(0, lambda seconds: None)
    log.connect()
    log.turn()
    assert len(log.pool.waiting) == 1


def test_a_retry_is_not_taken_for_the_run_that_it_repeats(log: Any) -> None:
    (job,) = _start(log, "late")
    log.lose()
    log.pool.end(job, log.app)
    log.loop.idle_turn(0, lambda seconds: None)
    retry = Message(job.body, log.queue.name, headers={**job.headers, "retries": 1}, correlation_id=job.headers["id"])
    log.broker.publish([retry])
    other = log.broker.consumer([log.queue])
    other.receive(10, 0)
    other.close()  # so both are marked as delivered before
    log.connect()
    log.turn()
    (found,) = log.pool.waiting.values()
    assert found.headers["retries"] == 1


def test_a_task_lost_with_its_process_while_the_connection_is_lost_runs_once_more(log: Any) -> None:
    (job,) = _start(log, "late")
    log.lose()
    log.pool.end(job, log.app, error=WorkerLostError("killed"))
    log.loop.idle_turn(0, lambda seconds: None)
    assert log.waiting == 2
    log.connect()
    log.turn()
    (found,) = log.pool.waiting.values()
    assert found.headers[LOST_HEADER] == 1


def test_a_message_that_cannot_be_read_is_buried_also_after_a_lost_connection(log: Any) -> None:
    (job,) = _start(log, "late")
    log.lose()
    log.pool.end(job, log.app, verdict=Verdict.DEAD, text="no JSON")
    log.loop.idle_turn(0, lambda seconds: None)
    assert log.broker.size(["dead"]) == {"dead": 1}
    log.connect()
    log.turn()
    log.turn()
    assert (log.waiting, log.held, len(log.pool.waiting)) == (0, 0, 0)
    assert log.broker.size(["dead"]) == {"dead": 1}


def test_what_follows_from_a_task_is_taken_before_its_result_is_stored(log: Any) -> None:
    (job,) = _start(log, "late")
    log.spy(log.consumer, "receive", int)
    log.spy(log.pool, "submit", len)
    with outbox.gathering() as following:
        log.app.send_task("late")
    log.pool.end(job, log.app, outgoing=following)
    log.loop.turn()
    assert [name for name, _ in log.did] == ["publish", "receive", "submit", "store", "ack"]
    assert (len(log.settling), len(log.pool.waiting)) == (0, 1)


def test_many_that_end_at_once_are_settled_before_more_is_taken(log: Any) -> None:
    log.loop.pace.mean, log.loop.pace.done = 0.0001, 10_000
    jobs = _start(log, "late", 4)
    assert len(jobs) > log.pool.size
    log.spy(log.consumer, "receive", int)
    for job in jobs:
        log.pool.end(job, log.app, outgoing=[_follow()])
    log.turn()
    assert [name for name, _ in log.did] == ["publish", "store", "ack", "receive"]


def test_a_broker_that_is_away_is_not_asked_twice_in_one_turn(log: Any) -> None:
    (job,) = _start(log, "late")
    log.fail["publish"] = _raise(OperationalError("the broker is away"))
    log.pool.end(job, log.app, outgoing=[_follow()])
    log.turn()
    assert log.did == [("publish", 1)]
    assert log.settling.retry_in is not None
