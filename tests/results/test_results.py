"""Results, asked and waited for."""

from __future__ import annotations

import asyncio
import copy
import pickle
import time
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from umbel import Umbel
from umbel.canvas.follow_up import settle_chord
from umbel.model import states
from umbel.model.exceptions import IncompleteStream, TaskRevokedError, TimeoutError
from umbel.model.request import Context
from umbel.results import (
    AsyncResult,
    DisabledStore,
    EagerResult,
    GroupResult,
    NoResultBackend,
    ResultSet,
    allow_join_result,
    assert_will_not_block,
    denied_join_result,
    result_from_tuple,
)
from umbel_kernel.errors import EncodeError, NotSupported

Done = Callable[..., None]
BACKENDS = ["memory", "redis", "sqlite", "rpc"]
SHARED = ["memory", "redis", "sqlite"]


class Counting:
    """A backend that counts the rounds made to the one behind it."""

    def __init__(self, backend: Any) -> None:
        self._backend = backend
        self.rounds: list[tuple[str, int]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._backend, name)

    def fetch(self, ids: Any, **options: Any) -> Any:
        self.rounds.append(("fetch", len(ids)))
        return self._backend.fetch(ids, **options)

    def wait(self, ids: Any, **options: Any) -> Any:
        self.rounds.append(("wait", len(ids)))
        return self._backend.wait(ids, **options)


class Unhurried(Counting):
    """A backend of tasks "0", "1" and so on: ten thousand of them end in a second, and the next when somebody waits."""

    def __init__(self, app: Any, count: int) -> None:
        super().__init__(app.load_backend())
        self._records = [app.backend.record(str(number), "SUCCESS", number) for number in range(count)]
        self._begun = time.monotonic()
        self._ended = 0

    def wait(self, ids: Any, **options: Any) -> Any:
        self.rounds.append(("wait", len(ids)))
        while True:
            due = max(int((time.monotonic() - self._begun) * 10_000), self._ended + 1)
            self._backend.store(self._records[self._ended : due])
            self._ended = due
            found = self._backend.wait(ids, timeout=0)
            if found:
                return found


every_backend = pytest.mark.parametrize("app", BACKENDS, indirect=True)
"""On each kind of store."""


@every_backend
def test_a_result_that_is_there(app: Any, done: Done) -> None:
    result = app.AsyncResult("a")
    assert (result.state, result.result, result.ready(), result.exists()) == ("PENDING", None, False, False)
    done("a", {"x": [1]})
    assert (result.state, result.result, result.ready(), result.exists()) == ("SUCCESS", {"x": [1]}, True, True)
    assert result.successful() and not result.failed()
    assert result.get() == {"x": [1]}
    assert result.date_done is not None and result.info == {"x": [1]} and result.status == "SUCCESS"


@every_backend
def test_a_result_that_comes_later(app: Any, done: Done) -> None:
    done("a", 5, after=0.05)
    assert app.AsyncResult("a").get(timeout=10) == 5


@every_backend
def test_no_result_in_time(app: Any) -> None:
    with pytest.raises(TimeoutError, match=r"task a did not come within 0\.01 seconds"):
        app.AsyncResult("a").get(timeout=0.01)


@every_backend
def test_an_error_is_raised_as_its_own_class_with_the_remote_traceback(app: Any, done: Done) -> None:
    done("a", ZeroDivisionError("by zero"), "FAILURE", traceback="Traceback\n  at the worker\n")
    result = app.AsyncResult("a")
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="by zero") as caught:
            result.get()
        shown = "".join(traceback.format_exception(caught.value))
        assert "at the worker" in shown
        assert shown.count("maybe_throw") <= 2
    assert isinstance(result.get(propagate=False), ZeroDivisionError)
    assert result.failed() and result.traceback == "Traceback\n  at the worker\n"


@every_backend
def test_a_revoked_task(app: Any, done: Done) -> None:
    done("a", TaskRevokedError("revoked"), "REVOKED")
    with pytest.raises(TaskRevokedError):
        app.AsyncResult("a").get(timeout=0)


@every_backend
def test_the_error_of_a_parent_is_raised(app: Any, done: Done) -> None:
    result = app.AsyncResult("c", parent=app.AsyncResult("b", parent=app.AsyncResult("a")))
    done("b", 1)
    done("a", LookupError("first"), "FAILURE", after=0.05)
    with pytest.raises(LookupError, match="first"):
        result.get(timeout=10)
    with pytest.raises(TimeoutError):
        result.get(timeout=0.01, follow_parents=False)
    assert result.as_list() == ["c", "b", "a"]


@every_backend
def test_parents_that_are_ready_do_not_end_the_wait(app: Any, done: Done) -> None:
    result = app.AsyncResult("b", parent=app.AsyncResult("a"))
    done("a", 1)
    done("b", 2, after=0.05)
    assert result.get(timeout=10) == 2


@every_backend
def test_callbacks_of_get(app: Any, done: Done) -> None:
    seen: list[Any] = []
    done("a", 1)
    assert app.AsyncResult("a").get(callback=lambda *got: seen.append(got)) == 1
    assert seen == [("a", 1)]
    states_seen: list[str] = []
    done("b", {"at": 1}, "PROGRESS")
    done("b", 2, after=0.1)
    ticks: list[int] = []
    value = app.AsyncResult("b").get(
        timeout=10,
        interval=0.01,
        on_message=lambda meta: states_seen.append(meta["status"]),
        on_interval=lambda: ticks.append(1),
    )
    assert value == 2 and states_seen == ["PROGRESS", "SUCCESS"] and len(ticks) > 1


def test_waiting_inside_a_task_is_refused(app: Any, done: Done) -> None:
    done("a", 1)
    with denied_join_result():
        with pytest.raises(RuntimeError, match="must not wait"):
            app.AsyncResult("a").get()
        with pytest.raises(RuntimeError):
            GroupResult("g", [app.AsyncResult("a")]).get()
        with pytest.raises(RuntimeError):
            assert_will_not_block()
        assert app.AsyncResult("a").get(disable_sync_subtasks=False) == 1
        with allow_join_result():
            assert app.AsyncResult("a").get() == 1
    assert_will_not_block()


@every_backend
def test_an_ignored_result_is_not_waited_for(app: Any, done: Done) -> None:
    result = app.AsyncResult("a")
    result.ignored = True
    assert result.get() is None
    done("b", 2)
    assert GroupResult("g", [result, app.AsyncResult("b")]).get(timeout=0) == [None, 2]


def test_results_as_data(app: Any) -> None:
    result = app.AsyncResult("b", parent=app.AsyncResult("a"))
    assert result.as_tuple() == (("b", (("a", None), None)), None)
    group = GroupResult("g", [result, GroupResult("h", [app.AsyncResult("c")])], parent=app.AsyncResult("p"))
    back = result_from_tuple(pickle.loads(pickle.dumps(group.as_tuple())), app)
    assert back == group and back.as_tuple() == group.as_tuple()
    assert result_from_tuple(["x", None], app) == app.AsyncResult("x")
    for wrong in (None, 3, [], ["a"], [["a", None, None], None]):
        with pytest.raises(ValueError, match="described as"):
            result_from_tuple(wrong, app)
    deep: Any = None
    for _ in range(1000):
        deep = (("x", deep), None)
    with pytest.raises(ValueError, match="deep"):
        result_from_tuple(deep, app)


@every_backend
def test_results_compare_copy_and_pickle(app: Any) -> None:
    result = app.AsyncResult("a", parent=app.AsyncResult("p"))
    assert result == "a" and result == app.AsyncResult("a") and result != app.AsyncResult("b")
    assert {result: 1}[app.AsyncResult("a")] == 1
    assert (str(result), repr(result)) == ("a", "<AsyncResult: a>")
    for other in (copy.copy(result), pickle.loads(pickle.dumps(result))):
        assert other == result and other.parent == result.parent and other.app is app
    with pytest.raises(ValueError, match="id of a task"):
        AsyncResult(None)  # type: ignore[arg-type]


def test_the_parents_of_a_long_chain_do_not_wake_who_waits_for_its_end(app: Any) -> None:
    result = app.AsyncResult("0")
    for number in range(1, 200):
        result = app.AsyncResult(str(number), parent=result)
    counting = Unhurried(app, 200)
    app.load_backend = lambda: counting
    assert result.get(timeout=60) == 199
    assert len(counting.rounds) < 20


def test_a_set_of_many_is_met_in_lots(app: Any) -> None:
    counting = Unhurried(app, 2000)
    app.load_backend = lambda: counting
    assert ResultSet([app.AsyncResult(str(number)) for number in range(2000)]).get(timeout=60) == list(range(2000))
    assert len(counting.rounds) < 300


def test_a_set_of_many_is_awaited_in_lots(app: Any) -> None:
    counting = Unhurried(app, 2000)
    app.load_backend = lambda: counting

    async def main() -> Any:
        return await asyncio.wait_for(ResultSet([app.AsyncResult(str(number)) for number in range(2000)]), 60)

    assert asyncio.run(main()) == list(range(2000))
    assert len(counting.rounds) < 300


def test_an_app_has_classes_of_its_own(app: Any) -> None:
    other = Umbel("other", broker="memory://other", backend="memory://other", set_as_current=False)
    assert isinstance(app.AsyncResult("a"), AsyncResult) and isinstance(app.AsyncResult("a"), app.AsyncResult)
    assert app.AsyncResult is app.AsyncResult and app.AsyncResult is not other.AsyncResult
    group = other.GroupResult("g", [other.AsyncResult("a")])
    assert group.app is group[0].app is other.AsyncResult("a").app is other.ResultSet([]).app is other
    group.save()
    assert other.GroupResult.restore("g") == group and app.GroupResult.restore("g") is None
    for each in (group, group[0], other.ResultSet([group[0]])):
        back = pickle.loads(pickle.dumps(each))
        assert back == each and back.app is app, "where it arrives, it asks the current app"
        assert copy.copy(each) == each

    class Mine(other.AsyncResult):  # type: ignore[misc]
        """A user's own."""

    assert Mine("a").app is other and Mine("a")._unbound() is Mine
    assert Umbel.AsyncResult is AsyncResult


@every_backend
def test_then_is_called_once_when_it_is_ready(app: Any, done: Done) -> None:
    seen: list[Any] = []
    result = app.AsyncResult("a")
    result.then(seen.append)
    assert seen == []
    done("a", 1)
    result.get()
    result.get()
    assert seen == [result]
    result.then(seen.append)
    assert seen == [result, result]


def test_a_set_waits_for_all_in_one_round(app: Any, done: Done) -> None:
    ids = [f"id{number}" for number in range(50)]
    for number, task_id in enumerate(ids):
        done(task_id, number)
    counting = Counting(app.load_backend())
    app.load_backend = lambda: counting
    group = GroupResult("g", [app.AsyncResult(task_id) for task_id in ids])
    assert group.get(timeout=0) == list(range(50))
    assert group.ready() and group.successful() and group.completed_count() == 50
    assert counting.rounds == [("wait", 50)]


def test_a_set_asks_for_all_in_one_round(app: Any) -> None:
    counting = Counting(app.load_backend())
    app.load_backend = lambda: counting
    results = ResultSet([app.AsyncResult(f"id{number}") for number in range(20)])
    assert results.waiting() and not results.ready() and not results.failed()
    assert counting.rounds == [("fetch", 20)] * 3


@pytest.mark.parametrize("app", SHARED, indirect=True)
def test_groups_are_saved_restored_and_deleted(app: Any) -> None:
    group = GroupResult("g", [app.AsyncResult("a"), app.AsyncResult("b")], app=app)
    assert GroupResult.restore("g", app=app) is None
    group.save()
    assert GroupResult.restore("g", app=app) == group
    group.delete()
    assert GroupResult.restore("g", app=app) is None
    assert (str(group), repr(group), bool(group)) == ("g", "<GroupResult: g [a, b]>", True)
    assert pickle.loads(pickle.dumps(group)) == group and {group: 1}[group] == 1


def test_revoking(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []
    monkeypatch.setattr(app, "revoke", lambda ids, **options: calls.append((ids, options["terminate"])))
    app.AsyncResult("a").revoke(terminate=True)
    GroupResult("g", [app.AsyncResult("a"), app.AsyncResult("b")], app=app).revoke()
    assert calls == [(["a"], True), (["a", "b"], False)]
    told: list[Any] = []
    monkeypatch.setattr(
        type(app.control), "revoke_by_stamped_headers", lambda _, headers, **more: told.append(headers), raising=False
    )
    app.AsyncResult("a").revoke_by_stamped_headers({"who": "me"})
    assert told == [{"who": "me"}]


@every_backend
def test_children_and_what_comes_of_them(app: Any, done: Done) -> None:
    request = Context(id="a", called_directly=False)
    request.children.append(app.AsyncResult("b"))
    request.children.append(GroupResult("g", [app.AsyncResult("c")], app=app))
    done("a", 1, request=request)
    done("b", 2)
    result = app.AsyncResult("a")
    assert [child.id for child in result.children] == ["b", "g"]
    with pytest.raises(IncompleteStream):
        list(result.iterdeps())
    done("c", 3)
    assert [(node.id, value) for node, value in app.AsyncResult("a").collect()] == [
        ("a", 1), ("b", 2), ("g", [3]), ("c", 3),
    ]  # fmt: skip
    assert result.get_leaf() == 3


@every_backend
def test_extended_results(app: Any, done: Done) -> None:
    app.conf.result_extended = True
    request = Context(
        id="a", task="t", args=[1], kwargs={}, hostname="w@h", retries=1, delivery_info={"routing_key": "q"}
    )
    done("a", 1, request=request)
    result = app.AsyncResult("a")
    shown = (result.name, result.args, result.kwargs, result.worker, result.retries, result.queue)
    assert shown == ("t", [1], {}, "w@h", 1, "q")


def test_a_value_that_cannot_be_written(app: Any) -> None:
    with pytest.raises(EncodeError):
        app.backend.record("a", "SUCCESS", object())


@every_backend
def test_a_result_as_a_value_is_kept_as_its_description(app: Any, done: Done) -> None:
    done("a", GroupResult("g", [app.AsyncResult("x")], app=app))
    assert result_from_tuple(app.AsyncResult("a").get(), app).id == "g"


@every_backend
def test_the_first_success_is_kept(app: Any, done: Done) -> None:
    done("a", 1)
    done("a", ValueError("late"), "FAILURE")
    assert app.AsyncResult("a").get() == 1


def test_only_what_is_final_is_answered_from_memory(app: Any, done: Done) -> None:
    app.conf.result_cache_max = 2
    for task_id in "abc":
        done(task_id, task_id)
        app.backend.get_document(task_id)
    done("f", ValueError(), "FAILURE")
    app.backend.get_document("f")
    assert [app.backend.is_cached(task_id) for task_id in "abcf"] == [False, True, True, False]
    app.backend.forget("c")
    assert app.backend.get_state("c") == states.PENDING


def test_failures_may_expire_sooner(app: Any) -> None:
    app.conf.result_expires, app.conf.result_failure_expires = 100, 10
    assert app.backend.record("a", "SUCCESS", 1).expires == 100
    assert app.backend.record("a", "FAILURE", ValueError()).expires == 10


def test_a_chords_parts_come_back_once_and_in_order(app: Any) -> None:
    def part(*args: Any) -> Any:
        made = app.backend.chord_part(*args)
        (mine,) = app.backend.count_parts([made])
        return app.backend.chord_results(made) if mine else None

    assert part("g", 1, 3, "b", "FAILURE", ValueError("b")) is None
    assert part("g", 1, 3, "b", "FAILURE", ValueError("b")) is None
    assert part("g", 2, 3, "c", "SUCCESS", [1]) is None
    first, second, third = part("g", 0, 3, "a", "SUCCESS", None)
    assert (first, third) == (("a", "SUCCESS", None), ("c", "SUCCESS", [1]))
    assert second[:2] == ("b", "FAILURE") and isinstance(second[2], ValueError)
    assert part("g", 2, 3, "c", "SUCCESS", [1]) is None


def test_a_chord_whose_size_nobody_said_fails_its_body(app: Any) -> None:
    body = {"task": "b", "options": {"task_id": "body"}}
    settle_chord(app, Context(id="a", group="g", group_index=0, chord=body), "SUCCESS", 1)
    with pytest.raises(Exception, match="do not say how many"):
        app.AsyncResult("body").get(timeout=0)


def test_the_url_is_shown_without_its_password(app: Any) -> None:
    app.conf.result_backend = "memory://user:secret@host/x"
    app.connections.close()
    assert app.backend.as_uri() == "memory://user:**@host/x"
    assert "secret" in app.backend.as_uri(include_password=True)


def test_without_a_backend_it_says_how_to_have_one(app: Any) -> None:
    store = DisabledStore(app)
    store.store_result("a", 1, "SUCCESS")
    store.store([])
    store.forget("a")
    for ask in (store.get_state, store.get_result, store.get_document, store.restore_group):
        with pytest.raises(NoResultBackend, match="set result_backend"):
            ask("a")
    with pytest.raises(NotImplementedError, match="set result_backend"):
        AsyncResult("a", backend=store, app=app).get()
    with pytest.raises(NoResultBackend, match="chord needs a result backend"):
        store.ensure_chords_allowed()
    assert (store.enabled, store.as_uri(), store.reply_to) == (False, "disabled://", None)


def test_a_backend_that_nobody_else_can_look_into_counts_no_chords(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(type(app.load_backend()), "capabilities", frozenset())
    with pytest.raises(NotSupported, match="a chord needs"):
        app.backend.ensure_chords_allowed()


def test_eager_results() -> None:
    good = EagerResult("a", 5, "SUCCESS", name="t")
    assert (good.get(), good.state, good.ready(), good.successful(), good.name) == (5, "SUCCESS", True, True, "t")
    bad = EagerResult("b", ValueError("no"), "FAILURE", traceback="tb")
    with pytest.raises(ValueError, match="no"):
        bad.get()
    assert isinstance(bad.get(propagate=False), ValueError) and bad.failed() and bad.traceback == "tb"
    assert copy.copy(good).get() == 5 and pickle.loads(pickle.dumps(good)).get() == 5
    seen: list[Any] = []
    good.then(seen.append)
    assert seen == [good]
    good.revoke()
    with pytest.raises(TaskRevokedError):
        good.get()
