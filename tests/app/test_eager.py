"""Eager runs: ``apply``, ``task_always_eager``, and the same path as in a worker."""

from __future__ import annotations

import traceback
from typing import Any

import pytest

from umbel import Task, Umbel, chain, group
from umbel.model.exceptions import AlwaysEagerIgnored, Ignore, Reject


class Particular(Exception):
    """One whose attribute cannot be serialised."""

    def __init__(self, of: Any) -> None:
        self.of = of
        super().__init__(of)


@pytest.fixture
def eager(app: Umbel) -> Umbel:
    """An app whose tasks run where they are called."""
    app.conf.task_always_eager = True
    return app


def test_apply_runs_here(app: Umbel) -> None:
    @app.task(bind=True)
    def add(self: Task, x: int, y: int) -> tuple[int, bool, bool]:
        return x + y, self.request.is_eager, self.request.called_directly

    result = add.apply((1, 2))
    assert result.get() == [3, True, False]
    assert result.state == "SUCCESS"
    assert result.successful()


def test_always_eager(eager: Umbel) -> None:
    @eager.task
    def add(x: int, y: int) -> int:
        return x + y

    assert add.delay(1, 2).get() == 3
    assert chain(add.s(1, 2), add.s(3))().get() == 6


def test_errors_stay_in_the_result_unless_they_are_to_propagate(eager: Umbel) -> None:
    @eager.task
    def fail() -> None:
        raise KeyError("boo")

    result = fail.delay()
    assert result.state == "FAILURE"
    assert "KeyError" in result.traceback
    with pytest.raises(KeyError):
        result.get()
    with pytest.raises(KeyError):
        fail.apply(throw=True)
    eager.conf.task_eager_propagates = True
    with pytest.raises(KeyError):
        fail.delay()


def test_errors_are_those_that_were_raised(eager: Umbel) -> None:
    @eager.task
    def fail() -> None:
        raise Particular(object())

    error = fail.delay().get(propagate=False)
    assert isinstance(error, Particular) and type(error.of) is object
    frames = traceback.extract_tb(error.__traceback__)
    assert frames[-1].name == "fail"


def test_a_retry_raises_what_it_ends_with_where_errors_propagate(eager: Umbel) -> None:
    eager.conf.task_eager_propagates = True

    @eager.task(autoretry_for=(KeyError,), max_retries=2, retry_backoff=True)
    def stubborn() -> None:
        runs.append(1)
        raise KeyError("k")

    @eager.task(bind=True, max_retries=None)
    def patient(self: Task) -> int:
        if self.request.retries < 500:
            raise self.retry()
        return self.request.retries

    runs: list[int] = []
    with pytest.raises(KeyError):
        stubborn.delay()
    assert len(runs) == 3
    assert patient.delay().get() == 500


def test_nothing_is_stored_unless_asked_for(eager: Umbel) -> None:
    @eager.task
    def add(x: int, y: int) -> int:
        return x + y

    @eager.task
    def fail() -> None:
        raise KeyError("k")

    kept = [add.delay(1, 2).id, fail.delay().id]
    assert not any(eager.AsyncResult(task_id).exists() for task_id in kept)
    eager.conf.task_store_eager_result = True
    good, bad = add.delay(1, 2), fail.delay()
    ignored = add.apply_async((1, 2), ignore_result=True)
    assert eager.AsyncResult(good.id).get(timeout=1) == 3
    with pytest.raises(KeyError):
        eager.AsyncResult(bad.id).get(timeout=1)
    assert not eager.AsyncResult(ignored.id).exists() and ignored.ignored


def test_errors_of_ignored_tasks_are_stored_when_asked_for(eager: Umbel) -> None:
    @eager.task(store_eager_result=True, ignore_result=True, store_errors_even_if_ignored=True)
    def fail() -> None:
        raise KeyError("k")

    assert eager.AsyncResult(fail.delay().id).state == "FAILURE"


def test_without_a_backend_it_runs_too() -> None:
    app = Umbel("eager", broker="memory://eager", backend="disabled", set_as_current=False)
    app.conf.task_always_eager = app.conf.task_store_eager_result = True

    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    assert add.delay(1, 2).get() == 3
    assert chain(add.s(1, 2), add.s(3))().get() == 6


def test_an_extended_result_says_more(eager: Umbel) -> None:
    eager.conf.result_extended = True

    @eager.task(name="tests.eager.add")
    def add(x: int, y: int) -> int:
        return x + y

    result = add.delay(1, y=2)
    assert (result.name, result.args, result.kwargs, result.retries) == ("tests.eager.add", [1], {"y": 2}, 0)
    assert result.date_done is not None and result.worker


def test_ignore_and_reject_end_it(eager: Umbel) -> None:
    @eager.task
    def end(how: str) -> None:
        raise Ignore("of no use") if how == "ignore" else Reject("not this")

    for how, state in (("ignore", "IGNORED"), ("reject", "REJECTED")):
        result = end.delay(how)
        assert (result.state, result.get(), result.ready()) == (state, None, True)


def test_what_follows_an_applied_task_runs_here_and_what_it_sends_is_sent(app: Umbel) -> None:
    seen: list[Any] = []

    @app.task
    def note(*args: Any) -> None:
        seen.append(args)

    @app.task
    def send() -> str:
        note.delay("sent")
        return "returned"

    @app.task
    def fail() -> None:
        raise KeyError("k")

    @app.task
    def errback(request: Any, exc: Any, traceback: Any) -> None:
        seen.append("errback")
        note.delay("of the errback")

    assert send.apply(link=note.s()).get() == "returned"
    assert send.apply(chain=[note.s("second")]).get() == "returned"
    assert seen == [("returned",), ("returned", "second")]
    assert fail.apply(link_error=errback.s()).failed()
    assert seen[-1] == "errback"
    broker = app.connections.broker()
    assert broker.size(["celery"]) == {"celery": 3}


def test_replace_runs_what_takes_its_place(eager: Umbel) -> None:
    seen: list[Any] = []

    @eager.task
    def note(x: Any) -> None:
        seen.append(x)

    @eager.task
    def add(x: int, y: int) -> int:
        return x + y

    @eager.task(bind=True)
    def other(self: Task, x: int) -> Any:
        return self.replace(chain(add.s(x, 1), add.s(10)))

    @eager.task(bind=True)
    def many(self: Task) -> Any:
        return self.replace(group(add.s(number, 1) for number in range(3)))

    assert other.apply_async((1,), link=note.s()).get() == 12
    assert chain(other.s(1), add.s(100)).delay().get() == 112
    assert many.delay().get() == [1, 2, 3]
    assert seen == [12]


def test_settings_may_change_between_runs(eager: Umbel) -> None:
    @eager.task
    def add(x: int, y: int) -> int:
        return x + y

    assert not eager.AsyncResult(add.delay(1, 2).id).exists()
    add.store_eager_result = True
    assert eager.AsyncResult(add.delay(1, 2).id).exists()


def test_progress_is_stored_only_where_results_are(eager: Umbel) -> None:
    @eager.task(bind=True)
    def work(self: Task) -> str:
        self.update_state(state="PROGRESS", meta=1)
        states.append(eager.AsyncResult(self.request.id).state)
        self.update_state("another", state="PROGRESS", meta=2)
        return "done"

    states: list[str] = []
    assert work.delay().get() == "done"
    work.store_eager_result = True
    assert work.delay().get() == "done"
    assert states == ["PENDING", "PROGRESS"]
    assert eager.AsyncResult("another").info == 2


def test_a_task_sent_by_name_is_sent_and_a_warning_says_so(eager: Umbel) -> None:
    with pytest.warns(AlwaysEagerIgnored, match=r"nobody\.knows is sent"):
        eager.send_task("nobody.knows")
    assert eager.connections.broker().size(["celery"]) == {"celery": 1}
