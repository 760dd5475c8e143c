"""What a worker holds: across a lost connection where holds outlive it, and after a lease that ran out."""

from __future__ import annotations

import time
from typing import Any

import pytest

from umbel.app.outbox import Outgoing
from umbel.app.outcome import Verdict
from umbel.model import states
from umbel.worker.held import LOST_HEADER, fence
from umbel_broker_memory.consumer import MemoryConsumer
from umbel_kernel.errors import OperationalError, WorkerLostError
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue


@pytest.fixture
def made(rig: Any, app: Any, monkeypatch: Any) -> Any:
    """A loop on a broker whose holds outlive the connection, as ``made.lose`` and ``made.resume`` have it."""
    app.task(name="early")(lambda: None)
    app.task(name="late", acks_late=True)(lambda: None)
    monkeypatch.setattr(MemoryConsumer, "identity", "me")
    found = rig(size=2, multiplier=4)
    found.lose = found.loop.detach
    found.resume = lambda: found.loop.attach(found.broker, found.consumer)
    return found


def send(made: Any, count: int, name: str = "late") -> list[Any]:
    return [made.app.send_task(name) for _ in range(count)]


def take_away(made: Any, *task_ids: str) -> Any:
    """The lease of these runs out, and another consumer has them, which is returned."""
    consumer, store = made.consumer, made.consumer._store
    entries = [d.tag for d in made.loop.deliveries() if not task_ids or d.headers["id"] in task_ids]
    with store.lock:
        for entry in entries:
            del consumer._held[entry]
        consumer._lapsed = True
        store.give_back(entries, time.monotonic())
        waiting = store.queues[made.queue.name].take(1000, time.monotonic())
        mine = [entry for entry in waiting if entry not in entries]
        store.give_back(waiting, time.monotonic())
    assert not mine
    other = made.broker.consumer([made.queue])
    assert len(other.receive(1000, 0)) == len(entries)
    return other


def idle(made: Any) -> None:
    made.loop.idle_turn(0, lambda seconds: None)


# A lost connection


def test_what_is_held_stays_and_nothing_begins_meanwhile(made: Any) -> None:
    send(made, 4)
    made.turn()
    begun = made.pool.begin()
    made.turn()
    made.lose()
    assert len(made.pool.waiting) == 0, "what the pool had not begun is taken back"
    for _ in range(3):
        idle(made)
    assert (len(made.pool.waiting), len(made.loop.ready), len(made.loop.running)) == (0, 3, 1)
    assert made.held == 4
    made.resume()
    made.turn()
    assert (made.waiting, made.held) == (0, 4)
    made.pool.end(begun, made.app)
    made.turn()
    order = []
    while made.pool.waiting:
        order.append(made.pool.begin())
        made.pool.end(order[-1], made.app)
        made.turn()
    assert len(order) == 3
    assert (made.waiting, made.held, made.counters) == (0, 0, (0, 0))


def test_the_order_is_kept_across_a_lost_connection(made: Any) -> None:
    sent = send(made, 6)
    made.turn()
    assert len(made.pool.waiting) == 2
    made.lose()
    made.resume()
    made.turn()
    found = [job.headers["id"] for job in made.pool.waiting.values()] + [held.task_id for held in made.loop.ready]
    assert found == [result.id for result in sent]


def test_what_ends_meanwhile_is_stored_at_once_and_acknowledged_afterwards(made: Any) -> None:
    (result,) = send(made, 1)
    made.turn()
    job = made.pool.begin()
    made.turn()
    made.lose()
    made.pool.end(job, made.app)
    idle(made)
    assert made.app.AsyncResult(result.id).get(timeout=1) == "done"
    assert made.held == 1
    assert made.loop._timeout(None) >= 60, "acknowledgements alone are no reason to turn"
    made.resume()
    made.turn()
    assert (made.waiting, made.held, len(made.settling)) == (0, 0, 0)


@pytest.mark.parametrize("gone", [True, False])
@pytest.mark.parametrize("first", ["ends", "is doubted"])
def test_what_ends_when_its_lease_may_be_over_waits_until_it_is_known(
    made: Any, monkeypatch: Any, caplog: Any, gone: bool, first: str
) -> None:
    (result,) = send(made, 1)
    made.turn()
    job = made.pool.begin()
    made.turn()
    backend = made.app.backend
    real, doubted = backend.store, [first != "ends"]

    def away(*given: Any, **more: Any) -> None:
        raise OperationalError("the store is away")

    monkeypatch.setattr(MemoryConsumer, "in_doubt", property(lambda consumer: doubted[0]))
    monkeypatch.setattr(made.consumer, "missing", lambda deliveries: deliveries if gone else ())
    made.lose()
    if first == "ends":
        monkeypatch.setattr(backend, "store", away)
    made.pool.end(job, made.app)
    idle(made)
    monkeypatch.setattr(backend, "store", real)
    doubted[0] = True
    made.loop.settling.flush(force=True)
    assert not made.app.AsyncResult(result.id).ready()
    made.resume()
    doubted[0] = False
    made.loop.settling.flush(force=True)
    assert made.app.AsyncResult(result.id).ready() is not gone
    assert ("is refused" in caplog.text) is gone


def test_an_acknowledgement_that_failed_is_made_again(made: Any, monkeypatch: Any) -> None:
    send(made, 1)
    made.turn()
    job = made.pool.begin()
    made.turn()
    real = made.consumer.ack

    def cut(deliveries: Any) -> None:
        raise OperationalError("cut")

    monkeypatch.setattr(made.consumer, "ack", cut)
    made.pool.end(job, made.app)
    with pytest.raises(OperationalError):
        made.turn()
    made.lose()
    monkeypatch.setattr(made.consumer, "ack", real)
    made.resume()
    made.turn()
    assert (made.waiting, made.held) == (0, 0)


def test_what_is_gone_after_a_lost_connection_is_forgotten_and_comes_again(made: Any, caplog: Any) -> None:
    send(made, 4)
    made.turn()
    begun = made.pool.begin()
    made.turn()
    made.lose()
    other = take_away(made)
    made.consumer._lapsed = False  # nobody's doing: the server has lost it
    made.resume()
    assert "4 of 4 messages are held no longer" in caplog.text
    assert len(made.loop.ready) == 0
    made.turn()
    made.pool.end(begun, made.app)
    made.turn()
    assert made.app.AsyncResult(begun.headers["id"]).get(timeout=1) == "done"
    other.close()
    for _ in range(3):
        made.turn()
    waiting = [*made.loop.ready, *made.loop.later.values()]
    ids = [job.headers["id"] for job in made.pool.waiting.values()] + [held.task_id for held in waiting]
    assert len(ids) == 3 and begun.headers["id"] not in ids
    assert made.held == 3


def test_what_others_took_while_the_connection_was_lost_is_refused(made: Any, caplog: Any) -> None:
    sent = send(made, 3)
    made.turn()
    jobs = [made.pool.begin(), made.pool.begin()]
    made.turn()
    made.lose()
    take_away(made)
    made.resume()
    assert "3 of 3 messages are held no longer after the connection was lost; their lease ran out" in caplog.text
    for job in jobs:
        made.pool.end(job, made.app)
    made.turn()
    for result in sent[:2]:
        assert f"What task late[{result.id}] came to is refused" in caplog.text
    assert [made.app.AsyncResult(result.id).state for result in sent] == [states.PENDING] * 3
    assert (made.held, made.counters) == (0, (0, 0))


def test_all_is_forgotten_on_another_broker(made: Any, monkeypatch: Any) -> None:
    send(made, 3)
    made.turn()
    made.lose()
    monkeypatch.setattr(MemoryConsumer, "identity", "")
    made.consumer.close()
    made.connect()
    assert (len(made.loop.ready), made.waiting) == (0, 3)


def test_a_connection_that_is_lost_again_at_once_keeps_all(made: Any, monkeypatch: Any) -> None:
    send(made, 3)
    made.turn()
    made.lose()
    real = made.consumer.missing

    def cut(deliveries: Any) -> None:
        raise OperationalError("cut")

    monkeypatch.setattr(made.consumer, "missing", cut)
    with pytest.raises(OperationalError):
        made.resume()
    made.lose()
    made.lose()
    monkeypatch.setattr(made.consumer, "missing", real)
    made.resume()
    made.turn()
    assert (made.held, len(made.pool.waiting) + len(made.loop.ready)) == (3, 3)


def test_an_end_without_a_connection_forgets_what_has_not_begun(made: Any) -> None:
    send(made, 3)
    made.turn()
    begun = made.pool.begin()
    made.lose()
    made.loop.detach(resumes=False)
    assert (len(made.loop.ready), len(made.loop.running)) == (0, 1)
    made.pool.end(begun, made.app)
    made.loop.drain(lambda seconds: None)
    assert made.loop.idle


# A lease that ran out


def test_an_outcome_of_a_task_that_others_have_is_refused(made: Any, caplog: Any) -> None:
    (result,) = send(made, 1)
    made.turn()
    job = made.pool.begin()
    made.turn()
    other = take_away(made)
    follow = Outgoing(Message(b"[]", "next", headers={"id": "follow", "task": "t"}), Queue("next"))
    made.pool.end(job, made.app, outgoing=[follow])
    made.turn()
    assert made.app.AsyncResult(result.id).state == states.PENDING
    assert made.broker.size(["next"]) == {"next": 0}
    assert f"What task late[{result.id}] came to is refused" in caplog.text
    assert (made.held, len(made.settling), made.counters) == (0, 0, (0, 0))
    other.close()
    made.turn()
    assert len(made.pool.waiting) == 1, "what comes again is run, as its first run counts for nothing"


@pytest.mark.parametrize("waits", [False, True])
def test_the_end_of_a_chord_that_it_has_completed_is_sent_all_the_same(
    made: Any, monkeypatch: Any, waits: bool
) -> None:
    send(made, 1)
    made.turn()
    job = made.pool.begin()
    made.turn()
    chain = Outgoing(Message(b"[]", "chain", headers={"id": "chain", "task": "t"}), Queue("chain"))
    message = Message(b"[]", "body", headers={"id": "body", "task": "t"})
    body = Outgoing(message, Queue("body"), ends=(("group", "run"),))
    if waits:
        real = made.app.publisher.publish

        def away(*_: Any, **__: Any) -> None:
            raise OperationalError("away")

        monkeypatch.setattr(made.app.publisher, "publish", away)
        made.pool.end(job, made.app, outgoing=[chain, body])
        made.turn()
        take_away(made)
        monkeypatch.setattr(made.app.publisher, "publish", real)
        made.clock.now += 10
    else:
        take_away(made)
        made.pool.end(job, made.app, outgoing=[chain, body])
    made.turn()
    assert made.broker.size(["chain", "body"]) == {"chain": 0, "body": 1}
    assert made.app.AsyncResult(job.headers["id"]).state == states.PENDING


def test_an_outcome_that_comes_later_is_refused_too_and_one_of_a_lost_process(made: Any, caplog: Any) -> None:
    first, second = send(made, 2)
    made.turn()
    jobs = [made.pool.begin(), made.pool.begin()]
    made.turn()
    take_away(made)
    made.turn()
    assert "the lease of 2 of 2 messages ran out" in caplog.text
    made.turn()
    made.pool.end(jobs[0], made.app)
    made.pool.end(jobs[1], made.app, error=WorkerLostError("killed"))
    made.turn()
    for result in (first, second):
        assert f"What task late[{result.id}] came to is refused" in caplog.text
        assert made.app.AsyncResult(result.id).state == states.PENDING
    assert (made.waiting, made.counters) == (0, (0, 0))


def test_what_has_not_begun_is_not_begun_any_more(made: Any) -> None:
    sent = send(made, 6)
    made.turn()
    take_away(made, *(result.id for result in sent[1:]))
    made.turn()
    assert [job.headers["id"] for job in made.pool.waiting.values()] == [sent[0].id]
    assert (len(made.loop.ready), made.held) == (0, 1)


def test_tasks_that_were_acknowledged_early_are_not_touched(made: Any) -> None:
    (early,) = send(made, 1, "early")
    made.turn()
    first = made.pool.begin()
    made.turn()
    (late,) = send(made, 1)
    made.turn()
    second = made.pool.begin()
    made.turn()
    take_away(made)
    made.pool.end(first, made.app)
    made.pool.end(second, made.app)
    made.turn()
    assert made.app.AsyncResult(early.id).get(timeout=1) == "done"
    assert made.app.AsyncResult(late.id).state == states.PENDING


def test_an_early_task_that_began_while_others_took_it_is_refused(made: Any) -> None:
    (result,) = send(made, 1, "early")
    made.turn()
    job = made.pool.begin()
    other = take_away(made)
    made.turn()
    made.pool.end(job, made.app)
    made.turn()
    assert made.app.AsyncResult(result.id).state == states.PENDING
    other.close()
    made.turn()
    assert len(made.pool.waiting) == 1
    assert made.held == 1


def test_a_refused_run_counts_again_when_its_message_comes_back(made: Any) -> None:
    (result,) = send(made, 1)
    made.turn()
    job = made.pool.begin()
    made.turn()
    other = take_away(made)
    made.turn()
    other.close()  # the other worker ends, and gives it back
    made.turn()
    assert len(made.pool.waiting) == 0
    made.pool.end(job, made.app)
    made.turn()
    assert made.app.AsyncResult(result.id).get(timeout=1) == "done"
    assert (made.waiting, made.held) == (0, 0)


def test_outcomes_that_wait_for_a_store_are_refused_too(made: Any, monkeypatch: Any, caplog: Any) -> None:
    kept, lost = send(made, 2)
    made.turn()
    jobs = [made.pool.begin(), made.pool.begin()]
    made.turn()
    real = made.app.backend.store

    def away(records: Any) -> None:
        raise OperationalError("away")

    monkeypatch.setattr(made.app.backend, "store", away)
    for job in jobs:
        made.pool.end(job, made.app)
    made.turn()
    take_away(made, lost.id)
    monkeypatch.setattr(made.app.backend, "store", real)
    made.clock.now += 10
    made.turn()
    assert made.app.AsyncResult(kept.id).get(timeout=1) == "done"
    assert made.app.AsyncResult(lost.id).state == states.PENDING
    assert f"What task late[{lost.id}] came to is refused" in caplog.text
    assert (made.held, len(made.settling)) == (0, 0)


def test_what_waits_for_its_time_and_what_goes_back_is_forgotten(made: Any) -> None:
    made.loop.waiting.parks = False
    made.app.send_task("late", countdown=600)  # waits in the broker
    send(made, 1)
    made.turn()
    job = made.pool.begin()
    made.turn()
    made.loop.collect()
    made.pool.end(job, made.app, verdict=Verdict.REQUEUE)
    take_away(made)
    made.turn()
    assert (len(made.loop.later), made.held, made.waiting) == (0, 0, 1)


# The fence


def test_a_fence_grows_with_every_kind_of_run() -> None:
    runs = [
        ({}, None),
        ({}, 1),
        ({}, 70_000),
        ({LOST_HEADER: 1}, 0),
        ({LOST_HEADER: 2}, 3),
        ({"retries": 1}, 0),
        ({"retries": 1, LOST_HEADER: 2}, 5),
        ({"retries": 2}, None),
        ({"retries": 70_000}, 0),
        ({"replaced_task_nesting": 1}, 0),
        ({"replaced_task_nesting": 1, "retries": 1}, 0),
        ({"replaced_task_nesting": 300}, 0),
    ]
    fences = [fence(headers, deliveries) for headers, deliveries in runs]
    assert fences == sorted(set(fences))
    assert fences[0] == 0
    assert max(fences) < 2**48


@pytest.mark.parametrize("value", [None, -3, "7", 1.5, True, [1]])
def test_a_fence_of_strange_headers_is_none(value: Any) -> None:
    names = ("retries", "replaced_task_nesting", LOST_HEADER)
    assert fence(dict.fromkeys(names, value), 0) == 0


def test_a_record_has_the_fence_of_its_delivery(made: Any) -> None:
    (result,) = send(made, 1)
    first = made.broker.consumer([made.queue])
    first.receive(1, 1)
    first.close()
    made.turn()
    (job,) = made.pool.waiting.values()
    assert job.context["delivery_fence"] == 1
    outcome = made.app.backend.record(
        result.id, states.SUCCESS, 1, request=made.loop.lost._request(next(iter(made.loop.running.values())))
    )
    assert outcome.fence == 1
    assert b'"fence": 1' in outcome.body
    plain = made.app.backend.record(result.id, states.SUCCESS, 1)
    assert plain.fence == 0 and b"fence" not in plain.body
