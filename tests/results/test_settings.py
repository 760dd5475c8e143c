"""Settings about results, with a worker of this process, on each kind of store."""

from __future__ import annotations

import datetime
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from umbel import Task
from umbel.model.ids import uuid
from umbel.model.request import Context
from umbel.results import GroupResult

every_backend = pytest.mark.parametrize("app", ["memory", "redis", "sqlite", "rpc"], indirect=True)
shared_backend = pytest.mark.parametrize("app", ["memory", "redis", "sqlite"], indirect=True)
Running = Callable[..., Any]


@pytest.fixture
def queue(app: Any) -> Iterator[str]:
    """The app's default queue, which nobody else has."""
    name = app.conf.task_default_queue = f"results-{uuid()}"
    yield name
    app.connections.broker().delete([name])


@every_backend
@pytest.mark.usefixtures("queue")
def test_an_extended_result_says_where_and_how_it_ran(app: Any, running: Running) -> None:
    app.conf.result_extended = True

    @app.task(name="tests.add", bind=True, default_retry_delay=0)
    def add(self: Task, x: int, y: int = 0) -> int:
        if not self.request.retries:
            raise self.retry()
        return x + y

    with_worker = running(app, hostname="w@results")
    result = add.apply_async((1,), {"y": 2})
    assert result.get(timeout=20) == 3
    assert (result.name, result.args, result.kwargs, result.retries) == ("tests.add", [1], {"y": 2}, 1)
    assert result.worker == with_worker.hostname and result.queue == app.conf.task_default_queue
    assert result.date_done.tzinfo is not None


@every_backend
@pytest.mark.usefixtures("queue")
def test_a_task_tells_of_its_progress(app: Any, running: Running) -> None:
    go_on = threading.Event()

    @app.task(bind=True)
    def work(self: Task) -> str:
        self.update_state(state="PROGRESS", meta={"done": 5, "of": 10})
        assert go_on.wait(20)
        return "done"

    running(app)
    result = work.delay()
    seen: list[Any] = []

    def note(document: dict[str, Any]) -> None:
        seen.append((document["status"], document["result"]))
        go_on.set()

    assert result.get(timeout=20, interval=0.02, on_message=note) == "done"
    assert seen == [("PROGRESS", {"done": 5, "of": 10}), ("SUCCESS", "done")]


@every_backend
@pytest.mark.usefixtures("queue")
def test_a_task_that_has_started_says_so_when_it_is_to(app: Any, running: Running) -> None:
    app.conf.task_track_started = True
    go_on = threading.Event()

    @app.task
    def work() -> None:
        assert go_on.wait(20)

    @app.task(track_started=False)
    def silent() -> None:
        assert go_on.wait(20)

    running(app, concurrency=2)
    result, other = work.delay(), silent.delay()
    end = time.monotonic() + 20
    while result.state != "STARTED":
        assert time.monotonic() < end
        time.sleep(0.01)
    assert set(result.info) == {"pid", "hostname"}
    assert other.state == "PENDING"
    go_on.set()
    assert result.get(timeout=20) is None and other.get(timeout=20) is None


@every_backend
@pytest.mark.usefixtures("queue")
def test_what_is_ignored_is_not_stored_and_its_errors_only_when_asked_for(app: Any, running: Running) -> None:
    @app.task(ignore_result=True)
    def ignored(fail: bool) -> None:
        if fail:
            raise LookupError("no luck")

    @app.task(ignore_result=True, store_errors_even_if_ignored=True)
    def told(fail: bool) -> None:
        if fail:
            raise LookupError("no luck")

    @app.task
    def wanted() -> int:
        return 1

    running(app, concurrency=1)
    results = [task.delay(fail) for task in (ignored, told) for fail in (False, True)]
    assert all(result.ignored and result.get(timeout=0) is None for result in results)
    assert wanted.apply_async(ignore_result=True).get(timeout=0) is None
    assert wanted.delay().get(timeout=20) == 1
    found = [app.AsyncResult(result.id).state for result in results]
    # Where results travel to who wants them, nobody wants those that are ignored.
    assert found in (["PENDING"] * 3 + ["FAILURE"], ["PENDING"] * 4) and (app.has_reply_to or found[3] == "FAILURE")


@every_backend
@pytest.mark.usefixtures("queue")
def test_a_trail_is_kept_unless_it_is_switched_off(app: Any, running: Running) -> None:
    @app.task
    def child(x: int) -> int:
        return x * 2

    @app.task(bind=True)
    def parent(self: Task) -> None:
        child.delay(1)
        child.delay(2)

    @app.task(trail=False)
    def secret() -> None:
        child.delay(3)

    running(app)
    result, other = parent.delay(), secret.delay()
    assert result.get(timeout=20) is None and other.get(timeout=20) is None
    assert len(result.children) == 2 and not other.children
    if not app.has_reply_to:  # there the children's results travel to the worker that sent them
        assert sorted(each.get(timeout=20) for each in result.children) == [2, 4]
        assert [value for node, value in result.collect(timeout=20) if not node.children] == [2, 4]
        assert result.get_leaf() == 4
        dot = result.graph.to_dot()
        assert all(f'"{result.id}" -> "{each.id}"' in dot for each in result.children)


@shared_backend
@pytest.mark.parametrize("setting", ["result_expires", "result_failure_expires"])
def test_results_expire(app: Any, setting: str) -> None:
    app.conf[setting] = datetime.timedelta(seconds=0.2) if setting == "result_failure_expires" else 0.2
    app.backend.store_result("good", 1, "SUCCESS")
    app.backend.store_result("bad", ValueError("no"), "FAILURE")
    GroupResult("g", [app.AsyncResult("good")], app=app).save()
    gone = ["bad"] if setting == "result_failure_expires" else ["good", "bad"]
    end = time.monotonic() + 10

    def is_there(task_id: str) -> bool:
        kept = GroupResult.restore("g", app=app) if task_id == "good" else None
        return kept is not None or app.AsyncResult(task_id).exists()

    while any(map(is_there, gone)):
        assert time.monotonic() < end
        time.sleep(0.02)
    assert app.AsyncResult("good").exists() == ("good" not in gone)
    assert (GroupResult.restore("g", app=app) is None) == ("good" in gone)


@shared_backend
@pytest.mark.parametrize("never", [None, 0])
def test_results_may_be_kept_for_ever(app: Any, never: Any) -> None:
    app.conf.result_expires = never
    app.backend.store_result("a", 1, "SUCCESS")
    assert app.backend.record("a", "SUCCESS", 1).expires is None
    assert app.AsyncResult("a").get(timeout=0) == 1
    app.AsyncResult("a").forget()
    assert not app.AsyncResult("a").exists()


def test_a_chords_counters_expire_as_results_unless_told_otherwise(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lives: list[Any] = []
    monkeypatch.setattr(type(app.load_backend()), "begin_chord", lambda *_, expires, **more: lives.append(expires))
    for chord_expires in (None, 7, datetime.timedelta(minutes=1)):
        app.conf.result_chord_expires = chord_expires
        app.backend._read = None
        app.backend.begin_chord("g", 2)
    assert lives == [120, 7, 60]


@every_backend
def test_a_state_of_ones_own_is_kept_with_what_it_says(app: Any) -> None:
    request = Context(id="a", reply_to=app.reply_to)
    app.backend.store_result("a", {"at": 1}, "HALFWAY", request=request)
    result = app.AsyncResult("a")
    end = time.monotonic() + 10
    while result.state != "HALFWAY":
        assert time.monotonic() < end
        time.sleep(0.005)
    assert (result.info, result.ready(), result.successful(), result.failed()) == ({"at": 1}, False, False, False)
