"""Eager runs: ``apply``, ``task_always_eager``, and the same path as in a worker."""

from __future__ import annotations

from typing import Any

import pytest

from umbel import Task, Umbel, chain
from umbel_kernel.errors import EncodeError


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
    assert result.get() == (3, True, False)
    assert result.state == "SUCCESS"
    assert result.successful()


def test_always_eager(eager: Umbel) -> None:
    @eager.task
    def add(x: int, y: int) -> int:
        return x + y

    assert add.delay(1, 2).get() == 3
    assert chain(add.s(1, 2), add.s(3))().get() == 6


def test_arguments_are_serialised_as_they_would_be_on_the_wire(eager: Umbel) -> None:
    @eager.task
    def kind(x: Any) -> str:
        return type(x).__name__

    assert kind.delay((1, 2)).get() == "list"
    with pytest.raises(EncodeError):
        kind.delay(object())


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


def test_retries_run_at_once(eager: Umbel) -> None:
    @eager.task(bind=True, max_retries=3)
    def flaky(self: Task) -> int:
        if self.request.retries < 2:
            raise self.retry(countdown=60)
        return self.request.retries

    assert flaky.delay().get() == 2


def test_results_are_stored_when_asked(eager: Umbel) -> None:
    @eager.task(store_eager_result=True)
    def add(x: int, y: int) -> int:
        return x + y

    result = add.delay(1, 2)
    assert eager.AsyncResult(result.id).get(timeout=1) == 3


def test_callbacks_run(eager: Umbel) -> None:
    seen: list[Any] = []

    @eager.task
    def note(x: Any) -> None:
        seen.append(x)

    @eager.task
    def add(x: int, y: int) -> int:
        return x + y

    add.apply_async((1, 2), link=note.s())
    assert seen == [3]
