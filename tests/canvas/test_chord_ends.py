"""The end of a chord, when runs are lost, come twice, or find the store away: the body runs once, with what counts."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from umbel import Umbel
from umbel.app.outbox import END_HEADER
from umbel.app.outcome import TaskOutcome
from umbel.app.runner import Runner
from umbel.canvas import chord, follow_up, group
from umbel.model.exceptions import ChordError
from umbel.model.ids import uuid
from umbel_kernel.errors import BackendError, OperationalError
from umbel_kernel.spi.message import Delivery
from umbel_kernel.spi.pool import Job


class Hands:
    """Takes messages of an app and runs them one by one, as told."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.runner = Runner(app, "worker@here")
        self.queue = app.queues["celery"]
        broker = app.connections.broker()
        broker.declare([self.queue])
        self.consumer = broker.consumer([self.queue])

    def take(self) -> list[Delivery]:
        """All that is queued."""
        found = list(self.consumer.receive(100, 0))
        self.consumer.ack(found)
        return found

    def run(self, message: Delivery, *, fence: int = 0) -> TaskOutcome:
        """Run a message, and do nothing of what follows."""
        context = {"delivery_info": {"routing_key": "celery"}, "delivery_fence": fence}
        job = Job(1, message.body, message.headers, message.content_type, message.content_encoding, context)
        return TaskOutcome.unpack(self.runner(job), self.app.queues)

    def settle(self, outcome: TaskOutcome, *, ends: bool = True) -> TaskOutcome:
        """Do what follows, as a worker does; without ``ends`` it dies before it has told the store."""
        if outcome.outgoing:
            self.app.publisher.publish(outcome.outgoing)
        for end in {end for each in outcome.outgoing for end in each.ends} if ends else ():
            self.app.backend.end_chord(*end)
        if outcome.record is not None:
            self.app.backend.store([outcome.record])
        return outcome

    def drain(self) -> list[tuple[str, str]]:
        """Run and settle all there is; the names and states."""
        did = []
        while messages := self.take():
            for message in messages:
                outcome = self.settle(self.run(message))
                did.append((outcome.name, outcome.state))
        return did


@pytest.fixture(params=["memory", "sqlite", "redis"])
def app(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    """An app on each kind of store that counts."""
    places = {"memory": f"memory://{uuid()}", "sqlite": f"sqlite:///{tmp_path}/results.db"}
    backend = places.get(request.param) or request.getfixturevalue("redis_url")
    made = Umbel("ends", broker=f"memory://{uuid()}", backend=backend, set_as_current=False, result_expires=60)
    made.values = []  # type: ignore[attr-defined]

    @made.task(name="value")
    def value(given: Any) -> Any:
        made.values.append(given)  # type: ignore[attr-defined]
        return given

    @made.task(name="changing")
    def changing() -> Any:
        found = made.next.pop(0)  # type: ignore[attr-defined]
        if isinstance(found, Exception):
            raise found
        return found

    @made.task(name="again", bind=True, max_retries=5)
    def again(self: Any, times: int) -> Any:
        if self.request.retries < times:
            raise self.retry(countdown=0)
        return f"after {times}"

    @made.task(name="adds", bind=True)
    def adds(self: Any, *given: Any) -> str:
        for each in given:
            self.add_to_chord(value.s(each))
        return "added"

    yield made
    made.close()


@pytest.fixture
def hands(app: Any) -> Iterator[Hands]:
    """Runs what is queued."""
    made = Hands(app)
    yield made
    made.consumer.close()


def send(app: Any, *header: Any, **options: Any) -> Any:
    return chord(list(header), app.signature("value")).apply_async(**options)


def test_a_member_that_dies_after_it_was_counted_sends_the_body_when_it_comes_again(app: Any, hands: Hands) -> None:
    result = send(app, *(app.signature("value", (n,)) for n in range(3)))
    members = hands.take()
    for message in members[:2]:
        hands.settle(hands.run(message))
    assert [each.message.headers["task"] for each in hands.run(members[2]).outgoing] == ["value"]
    # Its process has died here: nothing of it was published. A member that was counted before changes nothing.
    assert hands.settle(hands.run(members[0], fence=1)).outgoing == []
    assert len(hands.settle(hands.run(members[2], fence=1)).outgoing) == 1
    assert hands.drain() == [("value", "SUCCESS")]
    assert result.get(timeout=5) == [0, 1, 2]
    assert hands.settle(hands.run(members[2], fence=2)).outgoing == []
    assert hands.take() == []


def test_a_body_that_was_published_twice_runs_once(app: Any, hands: Hands) -> None:
    result = send(app, app.signature("value", (1,)))
    (member,) = hands.take()
    hands.settle(hands.run(member), ends=False)
    hands.settle(hands.run(member, fence=1), ends=False)
    bodies = hands.take()
    assert {message.headers["id"] for message in bodies} == {result.id}
    assert len({message.headers[END_HEADER] for message in bodies}) == 2
    app.values.clear()
    ran = [hands.settle(hands.run(message)).state for message in (bodies[1], bodies[0], bodies[1])]
    assert ran == ["SUCCESS", "IGNORED", "SUCCESS"], "the same message again is a redelivery, which runs"
    assert app.values == [[1], [1]]
    assert result.get(timeout=5) == [1]


def test_a_body_that_the_store_knows_the_end_of_runs_and_no_other(app: Any, hands: Hands) -> None:
    send(app, app.signature("value", (1,)))
    (member,) = hands.take()
    late = hands.run(member)
    hands.settle(hands.run(member, fence=1))
    hands.settle(late)
    assert sorted(state for _, state in hands.drain()) == ["IGNORED", "SUCCESS"]
    assert app.values.count([1]) == 1


def test_a_body_of_several_messages_is_published_as_a_whole_again(app: Any, hands: Hands) -> None:
    header = [app.signature("value", (n,)) for n in range(2)]
    result = chord(header, group(app.signature("value") for _ in range(3))).apply_async()
    members = hands.take()
    hands.settle(hands.run(members[0]))
    assert len(hands.run(members[1]).outgoing) == 3
    hands.settle(hands.run(members[1], fence=1))
    assert hands.drain() == [("value", "SUCCESS")] * 3
    assert result.get(timeout=5) == [[0, 1]] * 3


def test_a_failed_header_calls_the_errback_once(app: Any, hands: Hands) -> None:
    called = []
    app.task(name="errback")(lambda request, error, traceback: called.append(error))
    app.next = [ValueError("no luck")]
    result = send(app, app.signature("changing"), app.signature("value", (1,)), link_error=app.signature("errback"))
    members = hands.take()
    for message in members:
        hands.settle(hands.run(message))
    app.next = [ValueError("no luck")]
    for message in members:
        hands.settle(hands.run(message, fence=1))
    assert hands.take() == []
    failed = result.parent.results[0].id
    with pytest.raises(ChordError, match=rf"task {failed}, a member of the header.*raised ValueError\('no luck'\)"):
        result.get(timeout=5, follow_parents=False)
    assert [str(error.__cause__) for error in called] == ["no luck"]


@pytest.mark.parametrize(
    "runs",
    [
        [("early", 0), ("late", 1)],
        [("late", 1), ("early", 0)],
        [(ValueError("lost"), 0), ("late", 1)],
        [("early", 0), (ValueError("late"), 1)],
    ],
)
def test_of_two_runs_of_a_member_the_body_gets_what_its_result_says(
    app: Any, hands: Hands, runs: list[tuple[Any, int]]
) -> None:
    result = send(app, app.signature("changing"), app.signature("value", (2,)))
    first, second = hands.take()
    app.next = [value for value, _ in runs]
    for _, fence in runs:
        hands.settle(hands.run(first, fence=fence))
    hands.settle(hands.run(second))
    hands.drain()
    counts = result.parent.results[0].get(timeout=5)
    assert counts in ("early", "late")
    assert result.get(timeout=5) == [counts, 2]


def test_a_member_that_retries_counts_when_it_has_ended(app: Any, hands: Hands) -> None:
    result = send(app, app.signature("again", (2,)), app.signature("value", (1,)), app.signature("again", (1,)))
    ran = hands.drain()
    assert [state for _, state in ran].count("RETRY") == 3
    assert result.get(timeout=5) == ["after 2", 1, "after 1"]
    assert app.values.count(["after 2", 1, "after 1"]) == 1


def test_a_header_that_is_sent_again_is_counted_anew(app: Any, hands: Hands) -> None:
    frozen = chord([app.signature("value", (n,)) for n in range(2)], app.signature("value"))
    frozen.freeze()
    for turn in range(1, 3):
        frozen.apply_async()
        hands.drain()
        assert app.values.count([0, 1]) == turn


def test_what_a_member_adds_comes_last_and_once_also_when_it_comes_again(app: Any, hands: Hands) -> None:
    result = send(app, app.signature("adds", ("x", "y")), app.signature("value", (1,)))
    adder, other = hands.take()
    hands.run(adder)
    hands.settle(hands.run(adder, fence=1))
    hands.settle(hands.run(other))
    added = hands.take()
    assert len({message.headers["id"] for message in added}) == 2 and len(added) == 4
    for message in (*reversed(added), adder):
        hands.settle(hands.run(message, fence=1))
    assert [name for name, _ in hands.drain()].count("value") == 1, "only the body is left"
    assert result.get(timeout=5) == ["added", 1, "x", "y"]


def test_a_member_waits_for_a_store_that_is_away(
    app: Any, hands: Hands, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setattr(follow_up, "_FIRST_PAUSE", 0.001)
    result = send(app, app.signature("value", (1,)))
    backend, real, calls = app.load_backend(), app.load_backend().chord_parts, []

    def away(parts: Any, **options: Any) -> Any:
        calls.extend(parts)
        if len(calls) in (1, 2):
            raise OperationalError("the store is away")
        return real(parts, **options)

    monkeypatch.setattr(backend, "chord_parts", away)
    hands.drain()
    assert len(calls) == 3 and len({part.run for part in calls}) == 1
    assert result.get(timeout=5) == [1]
    assert "cannot report it: the store is away; trying again" in caplog.text


def test_a_part_that_the_store_refuses_fails_its_member_and_so_the_body(
    app: Any, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = send(app, app.signature("value", (1,)))
    backend, real = app.load_backend(), app.load_backend().chord_parts

    def picky(parts: Any, **options: Any) -> Any:
        if any(part.state == "SUCCESS" for part in parts):
            raise BackendError("too large")
        return real(parts, **options)

    monkeypatch.setattr(backend, "chord_parts", picky)
    assert hands.drain() == [("value", "FAILURE")]
    with pytest.raises(ChordError, match="too large"):
        result.get(timeout=5, follow_parents=False)


def test_parts_that_cannot_be_read_fail_the_body(app: Any, hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    result = send(app, app.signature("value", (1,)))
    monkeypatch.setattr(app.load_backend(), "chord_bodies", lambda part: [b"\xff{"])
    hands.drain()
    with pytest.raises(ChordError, match="member of the header"):
        result.get(timeout=5, follow_parents=False)


def test_parts_that_are_gone_fail_the_body(app: Any, hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    result = send(app, app.signature("value", (1,)), app.signature("value", (2,)))
    real = app.load_backend().chord_bodies
    monkeypatch.setattr(app.load_backend(), "chord_bodies", lambda part: real(part)[1:])
    hands.drain()
    with pytest.raises(ChordError, match="of 2 members that were counted, 1 are there"):
        result.get(timeout=5, follow_parents=False)


@pytest.mark.parametrize("app", ["memory"], indirect=True)
def test_adding_is_for_members_alone(app: Any) -> None:
    with pytest.raises(ValueError, match="adds is no member of a chord"):
        app.tasks["adds"]("x")


@pytest.mark.parametrize("app", ["memory"], indirect=True)
def test_adding_where_the_store_cannot_is_refused(app: Any, hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(app.load_backend()), "capabilities", frozenset({"chords"}))
    result = send(app, app.signature("adds", ("x",)))
    hands.drain()
    with pytest.raises(ChordError, match="cannot let a header grow that was sent; let the task replace itself"):
        result.get(timeout=5, follow_parents=False)


def test_a_body_runs_where_nobody_can_be_asked(app: Any, hands: Hands, monkeypatch: pytest.MonkeyPatch) -> None:
    result = send(app, app.signature("value", (1,)))
    (member,) = hands.take()
    hands.settle(hands.run(member))

    def away(*args: Any, **named: Any) -> Any:
        raise OperationalError("the store is away")

    monkeypatch.setattr(app.load_backend(), "chord_end", away)
    assert hands.drain() == [("value", "SUCCESS")]
    assert result.get(timeout=5) == [1]


@pytest.mark.parametrize("app", ["redis"], indirect=True)
def test_what_is_kept_of_a_chord_expires_as_it_is_told(app: Any, hands: Hands) -> None:
    app.conf.result_chord_expires = 20
    result = send(app, app.signature("value", (1,)), app.signature("value", (2,)))
    for message in hands.take():
        hands.settle(hands.run(message), ends=False)
    direct = redis.Redis.from_url(app.conf.result_backend)
    keys = list(direct.scan_iter(f"celery-taskset-meta-{result.parent.id}.[jsd]"))
    assert len(keys) == 3
    assert [15_000 < direct.pttl(key) <= 20_000 for key in keys] == [True] * 3
    hands.drain()


@pytest.mark.parametrize("app", ["memory"], indirect=True)
def test_a_member_waits_for_a_store_that_it_cannot_connect_to(
    app: Any, hands: Hands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow_up, "_FIRST_PAUSE", 0.001)
    result = send(app, app.signature("value", (1,)))
    (member,) = hands.take()
    real, tries = app.load_backend, []

    def away() -> Any:
        tries.append(None)
        if len(tries) < 4:
            raise OperationalError("connection refused")
        return real()

    monkeypatch.setattr(app, "load_backend", away)
    hands.settle(hands.run(member))
    assert len(tries) > 3
    assert hands.drain() == [("value", "SUCCESS")]
    assert result.get(timeout=5) == [1]


BODIES = {
    "group": lambda app: group(app.signature("value") for _ in range(3)),
    "chord": lambda app: chord([app.signature("value") for _ in range(3)], app.signature("value")),
    "group first": lambda app: group(app.signature("value") for _ in range(3)) | app.signature("value"),
}


@pytest.mark.parametrize("kind", BODIES)
def test_of_a_body_of_several_messages_each_runs_once_however_many_were_published(
    app: Any, hands: Hands, kind: str
) -> None:
    body = BODIES[kind](app)
    result = chord([app.signature("value", (1,))], body).apply_async()
    (member,) = hands.take()
    first = hands.run(member)
    app.publisher.publish(first.outgoing[:2])
    # Its worker has died here; another one publishes all of it, and dies before it has told the store.
    hands.settle(hands.run(member, fence=1), ends=False)
    hands.settle(hands.run(member, fence=2))
    bodies = hands.take()
    assert (len(bodies), len({message.headers["id"] for message in bodies})) == (8, 3)
    app.values.clear()
    ran = [hands.settle(hands.run(message)).state for message in bodies]
    assert (ran.count("SUCCESS"), ran.count("IGNORED")) == (3, 5)
    assert app.values == [[1]] * 3
    assert hands.run(bodies[0]).state == "SUCCESS", "the same message again is a redelivery, which runs"
    hands.drain()
    assert result.get(timeout=5) == [[1]] * 3


def test_a_chord_that_is_sent_again_runs_all_of_its_body_again(app: Any, hands: Hands) -> None:
    frozen = chord([app.signature("value", (1,))], group(app.signature("value") for _ in range(3)))
    frozen.freeze()
    for turn in range(1, 3):
        frozen.apply_async()
        hands.drain()
        assert app.values.count([1]) == 3 * turn


def test_errbacks_that_are_sent_run_once_each_when_the_end_was_published_twice(app: Any, hands: Hands) -> None:
    called: list[str] = []
    for name in ("one", "two", "three"):
        app.task(name=name, bind=True)(lambda self, task_id: called.append(self.name))
    app.next = [ValueError("no luck")] * 3
    body = app.signature("value").on_error(app.signature("one")).on_error(app.signature("two"))
    chord([app.signature("changing").on_error(app.signature("three"))], body).apply_async()
    (member,) = hands.take()
    for fence in range(3):
        hands.settle(hands.run(member, fence=fence), ends=False)
    hands.drain()
    assert (called.count("one"), called.count("two")) == (1, 1)
    assert called.count("three") == 3, "that of the member is called for each of its runs"


def test_a_body_says_how_it_was_sent_only_where_several_messages_may_follow(app: Any, hands: Hands) -> None:
    def said(body: Any) -> set[Any]:
        chord([app.signature("value", (n,)) for n in range(2)], body).apply_async()
        return {app.content.loads(m.body, m.content_type, m.content_encoding)[2]["chord"].get("chord_sent")
                for m in hands.take()}  # fmt: skip

    value = app.signature("value")
    assert said(value) == {None}
    assert said(value.clone().on_error(value)) == {None}
    first, second = said(group(value, value)), said(group(value, value))
    assert len(first) == len(second) == 1 and None not in first and first != second
    assert None not in said(value.clone().on_error(value).on_error(app.signature("again")))
