"""Sets of results on each kind of store."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from umbel.model.exceptions import TimeoutError
from umbel.results import ResultSet

Done = Callable[..., None]
every_backend = pytest.mark.parametrize("app", ["memory", "redis", "sqlite", "rpc"], indirect=True)


@every_backend
def test_a_set_that_fills_slowly(app: Any, done: Done) -> None:
    ids = ["a", "b", "c"]
    seen: list[Any] = []

    def one_by_one(task_id: str, value: Any) -> None:
        seen.append((task_id, value))
        if following := {"c": "b", "b": "a"}.get(task_id):
            done(following, following.upper(), after=0.02)

    results = ResultSet([app.AsyncResult(task_id) for task_id in ids])
    done("c", "C", after=0.02)
    assert results.join(timeout=10, callback=one_by_one) == []
    assert seen == [("c", "C"), ("b", "B"), ("a", "A")]
    assert results.get() == ["A", "B", "C"]


@every_backend
def test_a_set_with_a_failure(app: Any, done: Done) -> None:
    done("a", 1)
    done("b", ValueError("b"), "FAILURE")
    results = ResultSet([app.AsyncResult("a"), app.AsyncResult("b"), app.AsyncResult("never")])
    with pytest.raises(ValueError, match="b"):
        results.get(timeout=10)
    with pytest.raises(TimeoutError, match=r"1 of 3 results .* 0\.01 seconds: never \(PENDING\)"):
        results.get(timeout=0.01, propagate=False)
    results.discard("never")
    results.discard("never")
    assert [type(value) for value in results.get(propagate=False)] == [int, ValueError]
    assert results.failed() and not results.successful() and results.completed_count() == 1
    with pytest.raises(KeyError):
        results.remove("never")


@every_backend
def test_a_sets_members(app: Any, done: Done) -> None:
    first, second = app.AsyncResult("a"), app.AsyncResult("b")
    results = ResultSet([first])
    results.add(first)
    results.update([first, second])
    assert len(results) == 2 and results[1] is second and list(results) == [first, second]
    done("a", 1)
    done("b", 2)
    assert sorted((task_id, meta["result"]) for task_id, meta in results.iter_native(timeout=0)) == [("a", 1), ("b", 2)]
    seen: list[Any] = []
    results.then(seen.append)
    assert seen == [results]
    results.forget()
    assert app.AsyncResult("a").state == "PENDING"
    results.clear()
    assert results.get() == []
