"""The same calls run eagerly and by a worker: their outcomes, and what tasks see meanwhile, are the same."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from umbel import Task, Umbel, chain, chord, group
from umbel.model import signals
from umbel.model.exceptions import InvalidTaskError, MaxRetriesExceededError
from umbel.model.ids import uuid
from umbel_kernel.errors import EncodeError

WHEN = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)


class World:
    """An app with tasks, and what they have noted."""

    def __init__(self, app: Umbel) -> None:
        self.app = app
        self.seen: list[Any] = []
        seen = self.seen

        @app.task(name="same")
        def same(value: Any = None, *more: Any) -> Any:
            return value

        @app.task(name="add")
        def add(x: int, y: int = 0) -> int:
            return x + y

        @app.task(name="total")
        def total(values: list[int]) -> int:
            return sum(values)

        @app.task(name="note")
        def note(*args: Any) -> None:
            seen.append(("note", *args))

        @app.task(name="fail")
        def fail(*args: Any) -> None:
            raise LookupError("no luck")

        @app.task(name="kinds")
        def kinds(*args: Any, **kwargs: Any) -> list[str]:
            return [type(arg).__name__ for arg in (*args, *kwargs.values())]

        @app.task(name="make")
        def make(what: str) -> Any:
            return {"tuple": (1, (2, 3)), "date": WHEN, "keys": {1: "one"}, "object": object(), "set": {7}}[what]

        @app.task(name="new_errback")
        def new_errback(request: Any, exc: Any, traceback: Any) -> None:
            seen.append(("new", request.id, type(exc).__name__, "no luck" in traceback))

        @app.task(name="old_errback")
        def old_errback(task_id: str) -> None:
            seen.append(("old", task_id))

        @app.task(name="flaky", bind=True, max_retries=5)
        def flaky(self: Task, until: int) -> list[Any]:
            seen.append(("try", self.request.retries, self.request.id))
            if self.request.retries < until:
                raise self.retry(countdown=0)
            return [self.request.retries, (self.request.headers or {}).get("mine"), self.request.stamps]

        @app.task(name="stubborn", autoretry_for=(LookupError,), max_retries=2, default_retry_delay=0)
        def stubborn() -> None:
            seen.append("tried")
            raise LookupError("again")

        @app.task(name="giving_up", bind=True, max_retries=1)
        def giving_up(self: Task) -> None:
            self.retry(countdown=0)

        @app.task(name="other_args", bind=True)
        def other_args(self: Task, x: int) -> int:
            if x:
                raise self.retry(args=(x - 1,), countdown=0)
            return self.request.retries

        @app.task(name="look", bind=True)
        def look(self: Task, x: int, y: int = 2) -> dict[str, Any]:
            r = self.request
            return {
                "args": r.args, "kwargs": r.kwargs, "id": r.id, "root_id": r.root_id, "parent_id": r.parent_id,
                "timelimit": r.timelimit, "time_limit": r.time_limit, "shadow": r.shadow, "stamps": r.stamps,
                "stamped_headers": r.stamped_headers, "headers": r.headers, "mine": r.get("mine"),
                "retries": r.retries, "ignore_result": r.ignore_result, "task": r.task, "group": r.group,
                "called_directly": r.called_directly, "argsrepr": r.argsrepr, "correlation_id": r.correlation_id,
                "callbacks": r.callbacks, "lang": r.lang, "origin": r.origin,
            }  # fmt: skip

        @app.task(name="kin", bind=True)
        def kin(self: Task) -> None:
            seen.append((self.request.root_id, self.request.parent_id))

        @app.task(name="parent", bind=True)
        def parent(self: Task) -> None:
            kin.delay()

        @app.task(name="replaced", bind=True)
        def replaced(self: Task, how: str) -> Any:
            if how == "raise":
                raise self.replace(same.s("other"))
            if how == "go on":
                self.replace(same.s("other"))
                seen.append("never")
            if how == "fail":
                raise self.replace(fail.s())
            if how == "deep":
                raise self.replace(replaced.s("chain"))
            if how == "chain":
                raise self.replace(chain(add.s(1, 1), add.s(1)))
            return self.replace(group(add.s(number, 1) for number in range(3)))

        @app.task(name="silent", ignore_result=True)
        def silent() -> int:
            seen.append("ran")
            return 5

        class Handled(Task):
            """Notes its handlers."""

            def before_start(self, *args: Any) -> None:
                seen.append("before_start")

            def on_success(self, retval: Any, *args: Any) -> None:
                seen.append(("on_success", retval))

            def on_failure(self, exc: BaseException, *args: Any) -> None:
                seen.append(("on_failure", type(exc).__name__))

            def on_retry(self, *args: Any) -> None:
                seen.append("on_retry")

            def after_return(self, status: str, *args: Any) -> None:
                seen.append(("after_return", status))

        @app.task(name="handled", base=Handled, bind=True, default_retry_delay=0)
        def handled(self: Task, how: str) -> Any:
            if how == "fail":
                raise LookupError("no luck")
            if how == "retry" and not self.request.retries:
                raise self.retry()
            return object() if how == "object" else how

        self.__dict__.update({name: task for name, task in locals().items() if name not in ("self", "seen", "app")})


@pytest.fixture(params=["eager", "real"])
def world(request: pytest.FixtureRequest, running: Callable[..., Any]) -> Iterator[Any]:
    """Tasks that run eagerly, or by a worker of this process."""
    name = uuid()
    app = Umbel("world", broker=f"memory://{name}", backend=f"memory://{name}", set_as_current=False)
    made = World(app)
    app.finalize()
    if request.param == "eager":
        app.conf.task_always_eager = True
        yield made
    else:
        running(app, concurrency=1)
        yield made
    app.close()


def settle(world: Any) -> None:
    """Wait until the worker, which has one slot, has done what was sent before."""
    world.same.apply_async((1,)).get(timeout=20)


def test_arguments_and_results_arrive_as_the_serializer_carries_them(world: Any) -> None:
    assert world.kinds.delay((1, 2), WHEN, {1: 2}, x=(3,)).get(timeout=20) == ["list", "datetime", "dict", "list"]
    assert world.make.delay("tuple").get(timeout=20) == [1, [2, 3]]
    assert world.make.delay("date").get(timeout=20) == WHEN
    assert world.make.delay("keys").get(timeout=20) == {"1": "one"}


def test_what_cannot_be_serialised_fails_at_the_call(world: Any) -> None:
    with pytest.raises(EncodeError, match="argument 1 of same"):
        world.same.delay(1, object())
    with pytest.raises(EncodeError, match="of note"):
        world.same.apply_async((1,), link=world.note.s(object()))
    with pytest.raises(InvalidTaskError):
        world.same.apply_async((1,), link="no signature")
    with pytest.raises(TypeError):
        world.add.delay(1, 2, 3)


def test_a_result_that_cannot_be_serialised_fails_the_task(world: Any) -> None:
    result = world.make.apply_async(("object",), link_error=world.new_errback.s(), link=world.note.s())
    with pytest.raises(EncodeError):
        result.get(timeout=20)
    settle(world)
    assert result.state == "FAILURE" and result.traceback
    assert world.handled.delay("object").failed() or not world.app.conf.task_always_eager
    settle(world)
    assert ("on_failure", "EncodeError") in world.seen and ("after_return", "FAILURE") in world.seen


def test_callbacks_run(world: Any) -> None:
    result = world.add.apply_async((1, 2), link=[world.note.s(), world.note.si("by itself")])
    assert result.get(timeout=20) == 3
    settle(world)
    assert world.seen == [("note", 3), ("note", "by itself")]


def test_errbacks_run(world: Any) -> None:
    result = world.fail.apply_async((1,), link_error=[world.new_errback.s(), world.old_errback.s()])
    with pytest.raises(LookupError, match="no luck"):
        result.get(timeout=20)
    settle(world)
    assert world.seen == [("new", result.id, "LookupError", True), ("old", result.id)]


def test_chains_groups_and_chords(world: Any) -> None:
    add, total = world.add, world.total
    assert chain(add.s(1, 2), add.s(3), add.s(4))().get(timeout=20) == 10
    assert group(add.s(number, number) for number in range(4))().get(timeout=20) == [0, 2, 4, 6]
    assert chord([add.s(1, 1), add.s(2, 2)], total.s())().get(timeout=20) == 6
    assert (add.s(1, 1) | group(add.s(1), add.s(2)) | total.s() | add.s(10)).delay().get(timeout=20) == 17
    assert add.apply_async((1, 1), chain=[add.s(5)]).get(timeout=20) == 2
    assert world.make.s("tuple").apply_async(link=world.note.s()).get(timeout=20) == [1, [2, 3]]
    settle(world)
    assert world.seen == [("note", [1, [2, 3]])]


def test_a_retry_runs_again_under_the_same_id(world: Any) -> None:
    result = world.flaky.apply_async((2,), headers={"mine": "header"}, stamped_headers=["who"], who="me")
    assert result.get(timeout=20) == [2, "header", {"who": "me"}]
    assert world.seen == [("try", number, result.id) for number in range(3)]
    assert (result.state, result.successful()) == ("SUCCESS", True)
    assert world.other_args.delay(3).get(timeout=20) == 3


def test_retries_end(world: Any) -> None:
    with pytest.raises(LookupError, match="again"):
        world.stubborn.delay().get(timeout=20)
    assert world.seen == ["tried"] * 3
    with pytest.raises(MaxRetriesExceededError, match="giving_up"):
        world.giving_up.delay().get(timeout=20)


@pytest.mark.parametrize(
    ("how", "value"), [("raise", "other"), ("go on", "other"), ("chain", 3), ("group", [1, 2, 3]), ("deep", 3)]
)
def test_a_task_is_replaced(world: Any, how: str, value: Any) -> None:
    result = world.replaced.apply_async((how,), link=world.note.s("linked"))
    assert result.get(timeout=20) == value
    assert chain(world.replaced.s(how), world.same.s()).apply_async().get(timeout=20) == value
    settle(world)
    assert world.seen == [("note", value, "linked")]


def test_a_task_that_is_replaced_fails_with_what_took_its_place(world: Any) -> None:
    result = world.replaced.apply_async(("fail",), link_error=world.new_errback.s())
    with pytest.raises(LookupError, match="no luck"):
        result.get(timeout=20)
    settle(world)
    assert world.seen == [("new", result.id, "LookupError", True)]


def test_the_request_is_the_same(world: Any) -> None:
    result = world.look.apply_async(
        (1,), {"y": (3,)}, shadow="other", headers={"mine": 1}, time_limit=50, stamped_headers=["who"], who=["me"],
        link=world.note.si(),
    )  # fmt: skip
    request = result.get(timeout=20)
    link = request.pop("callbacks")
    assert [each["task"] for each in link] == ["note"]
    assert request == {
        "args": [1], "kwargs": {"y": [3]}, "id": result.id, "root_id": result.id, "parent_id": None,
        "timelimit": [50, None], "time_limit": 50, "shadow": "other", "stamps": {"who": ["me"]},
        "stamped_headers": ["who"], "headers": {"mine": 1}, "mine": 1, "retries": 0, "ignore_result": False,
        "task": "look", "group": None, "called_directly": False, "argsrepr": "(1,)", "correlation_id": result.id,
        "lang": "py", "origin": world.app.origin,
    }  # fmt: skip


def test_tasks_know_who_sent_them(world: Any) -> None:
    result = world.parent.delay()
    result.get(timeout=20)
    settle(world)
    assert world.seen == [(result.id, result.id)]


def test_handlers_run(world: Any) -> None:
    world.handled.delay("retry").get(timeout=20)
    settle(world)
    assert world.seen == [
        "before_start", "on_retry",
        "before_start", ("on_success", "retry"), ("after_return", "SUCCESS"),
    ]  # fmt: skip
    world.seen.clear()
    world.handled.delay("fail").get(timeout=20, propagate=False)
    settle(world)
    assert world.seen == ["before_start", ("on_failure", "LookupError"), ("after_return", "FAILURE")]


def test_signals_are_sent(world: Any) -> None:
    seen: list[Any] = []

    def note(name: str, **got: Any) -> None:
        if getattr(got["sender"], "name", "") in ("add", "fail", "flaky"):
            seen.append((name, got["sender"].name, got.get("state")))

    with contextlib.ExitStack() as stack:
        for name in ("prerun", "success", "failure", "retry", "postrun"):
            signal = getattr(signals, f"task_{name}")

            def receiver(name: str = name, **got: Any) -> None:
                note(name, **got)

            signal.connect(receiver, weak=False)
            stack.callback(signal.disconnect, receiver)
        world.add.delay(1, 2).get(timeout=20)
        world.fail.delay().get(timeout=20, propagate=False)
        world.flaky.delay(1).get(timeout=20)
        settle(world)
    assert seen == [
        ("prerun", "add", None), ("success", "add", None), ("postrun", "add", "SUCCESS"),
        ("prerun", "fail", None), ("failure", "fail", None), ("postrun", "fail", "FAILURE"),
        ("prerun", "flaky", None), ("retry", "flaky", None), ("postrun", "flaky", "RETRY"),
        ("prerun", "flaky", None), ("success", "flaky", None), ("postrun", "flaky", "SUCCESS"),
    ]  # fmt: skip


def test_an_ignored_result(world: Any) -> None:
    result = world.silent.delay()
    assert result.ignored
    settle(world)
    assert world.seen == ["ran"] and not world.app.AsyncResult(result.id).exists()
    assert world.add.apply_async((1, 2), ignore_result=True).ignored
