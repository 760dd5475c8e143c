"""What a worker does at the end of a chord, and of members whose process it has lost, while stores and brokers fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from umbel.app.outbox import Outgoing
from umbel.app.runner import Runner
from umbel.canvas import chain, chord
from umbel.model.exceptions import ChordError
from umbel_kernel.errors import BackendError, ChannelError, OperationalError, PublishError, WorkerLostError
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue

END = ("group", "run")


@pytest.fixture
def made(rig: Any, app: Any, monkeypatch: Any) -> Any:
    """A loop with tasks, and a list of what it does."""
    app.task(name="late", acks_late=True, reject_on_worker_lost=False)(lambda *args: None)
    app.task(name="body")(lambda values: values)
    made = rig(size=4)
    made.did, made.fail = [], {}
    for thing, name in ((app.publisher, "publish"), (app.backend, "end_chord"), (app.backend, "store")):
        monkeypatch.setattr(thing, name, spy(made, name, getattr(thing, name)))
    return made


def spy(made: Any, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **named: Any) -> Any:
        made.did.append(name)
        if name in made.fail:
            raise made.fail[name](args[0]) if callable(made.fail[name]) else made.fail[name]
        return real(*args, **named)

    return call


def begin(made: Any) -> Any:
    """A task that runs."""
    made.app.send_task("late")
    made.turn()
    job = made.pool.begin()
    made.turn()
    made.did.clear()
    return job


def follow(name: str = "next", *ends: tuple[str, str]) -> Outgoing:
    return Outgoing(Message(b"[]", name, headers={"id": name, "task": "t"}), Queue(name), ends)


def test_the_end_is_told_once_when_all_of_it_is_published_and_before_the_result(made: Any) -> None:
    job = begin(made)
    made.pool.end(job, made.app, outgoing=[follow(f"q{n}", END) for n in range(600)])
    made.turn()
    assert made.did == ["publish", "publish", "end_chord", "store"]
    assert made.held == 0


def test_an_end_that_the_store_cannot_be_told_now_is_told_later_and_nothing_is_published_twice(made: Any) -> None:
    job = begin(made)
    made.fail["end_chord"] = OperationalError("the store is away")
    made.pool.end(job, made.app, outgoing=[follow("next", END)])
    made.turn()
    assert made.did == ["publish", "end_chord"]
    assert made.held == 1 and made.settling.retry_in is not None
    made.fail.clear()
    made.clock.now += 5
    made.turn()
    assert made.did[2:] == ["end_chord", "store"]
    assert (made.held, len(made.settling)) == (0, 0)


def test_an_end_is_not_told_before_a_broker_that_is_away_has_its_message(made: Any) -> None:
    job = begin(made)
    made.fail["publish"] = lambda batch: PublishError("the broker is away", [batch[1].message], 1)
    made.pool.end(job, made.app, outgoing=[follow("taken", END), follow("left", END)])
    made.turn()
    assert made.did == ["publish"]
    made.fail.clear()
    made.clock.now += 5
    made.turn()
    assert made.did[1:] == ["publish", "end_chord", "store"]


def test_a_store_that_refuses_an_end_holds_nothing_up(made: Any, caplog: Any) -> None:
    job = begin(made)
    made.fail["end_chord"] = BackendError("no")
    made.pool.end(job, made.app, outgoing=[follow("next", END)])
    made.turn()
    assert made.held == 0
    assert "does not note that the chord of group group has ended: no" in caplog.text


def test_a_message_that_the_broker_refuses_fails_its_task(made: Any) -> None:
    job = begin(made)
    made.fail["publish"] = ChannelError("too large for the queue")
    made.pool.end(job, made.app, outgoing=[follow("refused", END)])
    made.turn()
    with pytest.raises(Exception, match="too large for the queue"):
        made.app.AsyncResult("refused").get(timeout=2)


def test_a_lost_member_is_counted_as_soon_as_the_store_is_there(made: Any, monkeypatch: Any) -> None:
    called: list[Any] = []
    made.app.task(name="errback")(lambda request, error, traceback: called.append(request.id))
    header = [made.app.signature("late").on_error(made.app.signature("errback"))]
    result = chord(header, made.app.signature("body")).apply_async()
    made.turn()
    job = made.pool.begin()
    made.turn()
    backend = made.app.load_backend()
    real, away = backend.chord_parts, OperationalError("the store is away")

    def part(*args: Any, **named: Any) -> Any:
        if away is not None:
            raise away
        return real(*args, **named)

    monkeypatch.setattr(backend, "chord_parts", part)
    made.pool.end(job, made.app, error=WorkerLostError("killed"))
    made.turn()
    assert (result.state, made.held) == ("PENDING", 1)
    away = None  # type: ignore[assignment]
    made.clock.now += 5
    made.turn()
    with pytest.raises(ChordError, match="killed"):
        result.get(timeout=2, follow_parents=False)
    assert made.held == 0
    assert called == [job.headers["id"]], "what was done of it is not done again"


def test_a_chord_hears_of_a_member_whose_chain_was_lost_or_revoked_at_its_first_step(made: Any) -> None:
    def send() -> Any:
        steps = chain(made.app.signature("late"), made.app.signature("late"))
        return chord([steps], made.app.signature("body")).apply_async()

    lost = send()
    made.turn()
    job = made.pool.begin()
    made.turn()
    made.pool.end(job, made.app, error=WorkerLostError("killed"))
    made.turn()
    revoked = send()
    made.revoked.add([revoked.parent.results[0].parent.id])
    made.turn()
    made.turn()
    for result, reason in ((lost, "killed"), (revoked, "revoked")):
        with pytest.raises(ChordError, match=reason):
            result.get(timeout=2, follow_parents=False)


def test_a_child_that_dies_after_it_has_completed_a_header_does_not_take_the_body_with_it(made: Any) -> None:
    made.app.task(name="early")(lambda value: value)
    result = chord([made.app.signature("early", (7,))], made.app.signature("body")).apply_async()
    made.turn()
    job = made.pool.begin()
    made.turn()
    Runner(made.app, "w1@test")(job)
    assert made.waiting == 0
    made.pool.end(job, made.app, error=WorkerLostError("killed"))
    made.turn()
    assert result.parent.results[0].state == "FAILURE", "it is acknowledged, so it is not run again"
    made.turn()
    body = made.pool.begin()
    assert body.headers["task"] == "body"
    assert made.loop.lost._runner.read(body)[0] == [[7]]
