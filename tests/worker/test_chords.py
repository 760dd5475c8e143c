"""Chords whose members run in the worker's process: counted together, ended beside the loop, settled safely."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from umbel.app.runner import Runner
from umbel.canvas import chord
from umbel.model.exceptions import ChordError
from umbel.worker.dispatch import Dispatch
from umbel.worker.shutdown import Ending
from umbel_kernel.errors import BackendError, OperationalError, PublishError
from umbel_kernel.spi.pool import Outcome
from umbel_testkit.waiting import eventually

AWAY = OperationalError("the store is away")


@pytest.fixture
def made(rig: Any, app: Any) -> Any:
    """A loop that counts members, and tasks."""
    app.task(name="early")(lambda value: value)
    app.task(name="late", acks_late=True)(lambda value: value)
    app.task(name="silent", ignore_result=True)(lambda value: value)
    app.task(name="body")(lambda values: values)
    made = rig(size=50)
    made.loop.dispatch = Dispatch(app, made.revoked, gathers=True)
    made.runner = Runner(app, "w1@test")
    return made


def send(made: Any, name: str, count: int, **options: Any) -> Any:
    header = [made.app.signature(name, (number,)) for number in range(count)]
    return chord(header, made.app.signature("body")).apply_async(**options)


def take(made: Any) -> list[Any]:
    """Begin all that waits in the queue; the jobs."""
    made.turn()
    jobs = [made.pool.begin() for _ in range(len(made.pool.waiting))]
    made.turn()
    return jobs


def end(made: Any, *jobs: Any) -> None:
    """Run jobs to their ends; nobody has settled them then."""
    for job in jobs:
        del made.pool.running[job.id]
        made.pool.said.finished.append(Outcome(job.id, made.runner(job)))


def finish(made: Any) -> None:
    """Turn until nothing is left to be settled."""

    def turned() -> bool:
        made.clock.now += 10
        made.turn()
        return not len(made.settling)

    eventually(turned, what="everything to be settled", within=20)


def ended(made: Any) -> None:
    """Wait until what follows from complete chords is made, and taken over."""
    eventually(lambda: not made.settling.chords.under_way or made.turn(), what="the ends of chords", within=20)


def run_all(made: Any) -> int:
    """Run all there is; how many ran."""
    ran = 0
    while jobs := take(made):
        end(made, *jobs)
        finish(made)
        ran += len(jobs)
    return ran


def watch(monkeypatch: Any, owner: Any, name: str, *, before: Callable[..., Any] = lambda *_: None) -> list[Any]:
    """What a method is called with from now on."""
    real, calls = getattr(owner, name), []

    def call(*args: Any, **named: Any) -> Any:
        calls.append(args[0])
        before(len(calls), *args)
        return real(*args, **named)

    monkeypatch.setattr(owner, name, call)
    return calls


def failing(times: int, error: Exception = AWAY) -> Callable[..., None]:
    """Fails so often."""

    def before(call: int, *_: Any) -> None:
        if call <= times:
            raise error

    return before


@pytest.mark.parametrize("name", ["early", "late", "silent"])
def test_members_that_end_in_one_turn_are_counted_in_one_trip(made: Any, monkeypatch: Any, name: str) -> None:
    counted = watch(monkeypatch, made.app.load_backend(), "chord_parts")
    result = send(made, name, 40)
    end(made, *take(made))
    assert counted == [], "nothing is counted where a task ran"
    finish(made)
    assert [len(parts) for parts in counted] == [40]
    assert run_all(made) == 1
    assert result.get(timeout=5) == list(range(40))
    assert (made.held, made.waiting, made.counters) == (0, 0, (0, 0))


def test_only_who_completes_the_header_waits_for_the_body_to_be_published(made: Any, monkeypatch: Any) -> None:
    result = send(made, "late", 3)
    failing_now = [True]

    def away(_: int, batch: Any, *__: Any) -> None:
        if failing_now[0]:
            raise PublishError("the broker is away", [each.message for each in batch])

    watch(monkeypatch, made.app.publisher, "publish", before=away)
    end(made, *take(made))
    made.turn()
    ended(made)
    assert (made.held, len(made.settling)) == (1, 1)
    assert result.parent.join(timeout=5) == [0, 1, 2], "results do not wait for the body"
    failing_now.clear()
    failing_now.append(False)
    finish(made)
    assert run_all(made) == 1
    assert made.held == 0
    assert result.get(timeout=5) == [0, 1, 2]


def test_nothing_that_users_do_at_the_end_of_a_chord_holds_up_the_loop(made: Any) -> None:
    called, go_on = threading.Event(), threading.Event()

    @made.app.task(name="errback")
    def errback(request: Any, error: Any, traceback: Any) -> None:
        called.set()
        assert go_on.wait(20)

    made.app.task(name="fails", acks_late=True)(lambda value: 1 / 0)
    result = send(made, "fails", 1, link_error=made.app.signature("errback"))
    end(made, *take(made))
    made.turn()
    assert called.wait(20)
    other = made.app.send_task("early", (5,))
    end(made, *take(made))
    made.turn()
    assert other.get(timeout=5) == 5
    assert (made.held, len(made.settling), made.loop.idle) == (1, 1, False)
    go_on.set()
    finish(made)
    assert made.held == 0
    with pytest.raises(ChordError, match="division by zero"):
        result.get(timeout=5, follow_parents=False)


@pytest.mark.parametrize("call", ["chord_parts", "chord_bodies", "chord_end"])
def test_a_store_that_is_away_is_asked_again_and_the_body_runs_once(made: Any, monkeypatch: Any, call: str) -> None:
    asked = watch(monkeypatch, made.app.load_backend(), call, before=failing(2))
    result = send(made, "late", 3)
    end(made, *take(made))
    made.turn()
    ended(made)
    assert made.held >= 1 and made.settling.retry_in is not None
    finish(made)
    assert len(asked) >= 3
    assert run_all(made) == 1
    assert result.get(timeout=5) == [0, 1, 2]
    assert made.held == 0


def test_a_part_that_the_store_refuses_fails_its_task_and_the_body(made: Any, monkeypatch: Any) -> None:
    def picky(_: int, parts: Any, **__: Any) -> None:
        if any(part.index == 1 and part.state == "SUCCESS" for part in parts):
            raise BackendError("too large")

    watch(monkeypatch, made.app.load_backend(), "chord_parts", before=picky)
    result = send(made, "late", 3)
    end(made, *take(made))
    finish(made)
    with pytest.raises(ChordError, match="too large"):
        result.get(timeout=5, follow_parents=False)
    assert [each.state for each in result.parent.results] == ["SUCCESS", "FAILURE", "SUCCESS"]
    assert made.held == 0


def test_a_body_that_cannot_be_sent_fails_and_says_so(made: Any, monkeypatch: Any) -> None:
    result = send(made, "early", 1)
    monkeypatch.setattr(made.app, "ending_chord", watch_error(ValueError("a router of the user's")))
    end(made, *take(made))
    finish(made)
    with pytest.raises(ChordError, match=r"could not be sent: ValueError.*a router of the user's"):
        result.get(timeout=5, follow_parents=False)


def watch_error(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any) -> Any:
        raise error

    return fail


def test_a_member_that_comes_again_while_its_chord_ends_is_known(made: Any, monkeypatch: Any) -> None:
    began, go_on = threading.Event(), threading.Event()

    def wait(*_: Any) -> None:
        began.set()
        assert go_on.wait(20)

    watch(monkeypatch, made.app.load_backend(), "chord_bodies", before=wait)
    result = send(made, "late", 1)
    end(made, *take(made))
    made.turn()
    assert began.wait(20)
    assert len(made.loop.deliveries()) == 1
    made.lose()
    assert made.waiting == 1
    made.connect()
    made.turn()
    assert (made.held, made.pool.waiting) == (1, {}), "it is taken and does not run again"
    go_on.set()
    finish(made)
    assert run_all(made) == 1
    assert made.held == 0
    assert result.get(timeout=5) == [0]


def test_of_members_that_others_have_by_now_only_told_ends_of_chords_count(made: Any, monkeypatch: Any) -> None:
    counted = watch(monkeypatch, made.app.load_backend(), "chord_parts", before=failing(1))
    result = send(made, "late", 2)
    jobs = take(made)
    end(made, jobs[0])
    made.turn()
    assert len(counted) == 1
    made.settling.lose([held.delivery for held in made.settling.chords.held], refuse=True)
    finish(made)
    assert len(counted) == 1, "it is not counted here"
    assert result.parent.results[0].state == "PENDING"
    began, go_on = threading.Event(), threading.Event()

    def wait(*_: Any) -> None:
        began.set()
        assert go_on.wait(20)

    watch(monkeypatch, made.app.load_backend(), "chord_bodies", before=wait)
    # The other worker's run of the first member is counted, and so this worker's second one completes the header.
    jobs[0].context["chord_parts"] = []
    made.runner(jobs[0])
    ((part, _),) = jobs[0].context["chord_parts"]
    assert made.app.backend.count_parts([part]) == [False]
    end(made, jobs[1])
    made.turn()
    assert began.wait(20)
    made.settling.lose([held.delivery for held in made.settling.chords.held], refuse=True)
    go_on.set()
    finish(made)
    assert run_all(made) == 1, "the end was told to this worker, so it sends the body"


def test_a_worker_that_ends_makes_the_end_of_its_chords_first(made: Any) -> None:
    result = send(made, "early", 2)
    jobs = take(made)
    made.shutdown.request(Ending.WARM)
    end(made, *jobs)
    made.loop.drain(lambda timeout: None)
    assert (made.loop.idle, made.waiting) == (True, 1)
    made.shutdown.ending = Ending.NONE
    assert run_all(made) == 1
    assert result.get(timeout=5) == [0, 1]


def test_a_worker_that_ends_cold_makes_those_that_are_complete(made: Any) -> None:
    result = send(made, "early", 2)
    end(made, *take(made))
    made.shutdown.request(Ending.COLD)
    made.loop.abandon(RuntimeError("cold"))
    assert made.settling.flush(force=True)
    assert made.waiting == 1
    assert result.parent.join(timeout=5) == [0, 1]


def test_a_cold_end_does_not_wait_for_a_store_that_is_away(made: Any, monkeypatch: Any) -> None:
    asked = watch(monkeypatch, made.app.load_backend(), "chord_bodies", before=failing(100))
    send(made, "late", 1)
    end(made, *take(made))
    made.shutdown.request(Ending.COLD)
    made.loop.abandon(RuntimeError("cold"))
    assert not made.settling.flush(force=True)
    assert len(asked) <= 2
    assert "1 members of chords" in made.settling.unsettled()
