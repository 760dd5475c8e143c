"""The constructs of Celery's guide to calling tasks, unchanged but for the import, on Redis with a worker."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from umbel import Umbel, signature
from umbel.app.log import get_task_logger
from umbel.exceptions import OperationalError, TaskRevokedError

WAIT = 20


@pytest.fixture
def tasks(app: Umbel) -> Any:
    """The guide's tasks, and what was said to them."""
    said: list[Any] = []

    class Tasks:
        heard = said

        @app.task(name="proj.tasks.add")
        def add(x: Any, y: Any) -> Any:
            return x + y

        @app.task(name="proj.tasks.mul")
        def mul(x: Any, y: Any) -> Any:
            said.append((x, y))
            return x * y

        @app.task(name="proj.tasks.task")
        def task(arg1: Any, arg2: Any, kwarg1: Any = None, kwarg2: Any = None) -> Any:
            return [arg1, arg2, kwarg1, kwarg2]

        @app.task(name="proj.tasks.fail")
        def fail(*args: Any) -> None:
            raise ValueError("something something")

        @app.task(name="proj.tasks.error_handler")
        def error_handler(request: Any, exc: Any, traceback: Any) -> None:
            said.append((request.id, exc, traceback))

        @app.task(name="proj.tasks.hello", bind=True)
        def hello(self: Any, a: Any, b: Any) -> str:
            for progress in (50, 90):
                self.update_state(state="PROGRESS", meta={"progress": progress})
                end = time.monotonic() + WAIT
                while progress not in said and time.monotonic() < end:
                    time.sleep(0.005)
            return f"hello world: {a + b}"

        @app.task(name="proj.tasks.quiet", ignore_result=True)
        def quiet(x: Any, y: Any) -> Any:
            return x + y

    return Tasks


def until(condition: Any) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_the_ways_to_call(tasks: Any, app: Umbel, running: Any) -> None:
    task, add = tasks.task, tasks.add
    running(app)
    wanted = ["arg1", "arg2", "x", "y"]
    assert task.delay("arg1", "arg2", kwarg1="x", kwarg2="y").get(timeout=WAIT) == wanted
    assert task.apply_async(args=["arg1", "arg2"], kwargs={"kwarg1": "x", "kwarg2": "y"}).get(WAIT) == wanted
    assert task.apply_async(("arg1", "arg2"), {"kwarg1": "x", "kwarg2": "y"}).get(WAIT) == wanted
    assert task.s("arg1", "arg2", kwarg1="x", kwarg2="y").apply_async().get(WAIT) == wanted
    assert signature("proj.tasks.add", (2, 2)).delay().get(WAIT) == 4
    assert app.send_task("proj.tasks.add", (2, 2)).get(WAIT) == 4
    assert add(2, 2) == add.run(2, 2) == 4


def test_linking(tasks: Any, app: Umbel, running: Any) -> None:
    add, mul, error_handler = tasks.add, tasks.mul, tasks.error_handler
    running(app)
    assert add.apply_async((2, 2), link=add.s(16)).get(timeout=WAIT) == 4
    result = add.apply_async((2, 2), link=[add.s(16), mul.s(3)])
    assert result.get(timeout=WAIT) == 4
    assert [child.get(timeout=WAIT) for child in result.children] == [20, 12]
    failed = tasks.fail.apply_async((2, 2), link_error=error_handler.s())
    with pytest.raises(ValueError, match="something something"):
        failed.get(timeout=WAIT)
    until(lambda: len(tasks.heard) == 2)
    task_id, exc, traceback = tasks.heard[1]
    assert task_id == failed.id
    assert repr(exc) == "ValueError('something something')"
    assert 'raise ValueError("something something")' in str(traceback)


def test_on_message(tasks: Any, app: Umbel, running: Any) -> None:
    bodies: list[Any] = []

    def on_raw_message(body: Any) -> None:
        bodies.append(body)
        tasks.heard.append((body["result"] or {}).get("progress") if body["status"] == "PROGRESS" else None)

    running(app)
    r = tasks.hello.apply_async(args=(1, 1))
    assert r.get(on_message=on_raw_message, propagate=False, timeout=WAIT) == "hello world: 2"
    assert [(body["status"], body["result"]) for body in bodies] == [
        ("PROGRESS", {"progress": 50}),
        ("PROGRESS", {"progress": 90}),
        ("SUCCESS", "hello world: 2"),
    ]
    for body in bodies:
        assert body["task_id"] == r.id
        assert {"result", "children", "status", "traceback"} <= body.keys()


def test_eta_and_countdown(tasks: Any, app: Umbel, running: Any) -> None:
    add = tasks.add
    running(app)
    began = time.monotonic()
    assert add.apply_async((2, 2), countdown=0.5).get(timeout=WAIT) == 4
    assert time.monotonic() - began >= 0.4
    soon = datetime.now(UTC) + timedelta(seconds=0.5)
    assert add.apply_async((2, 2), eta=soon).get(timeout=WAIT) == 4
    assert datetime.now(UTC) >= soon - timedelta(seconds=0.1)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    later = add.apply_async((2, 2), eta=tomorrow)
    assert add.delay(1, 1).get(timeout=WAIT) == 2
    assert not later.ready()


def test_expiration(tasks: Any, app: Umbel, running: Any) -> None:
    add = tasks.add
    gone = add.apply_async((10, 10), expires=0.01)
    past = add.apply_async((10, 10), expires=datetime.now(UTC) - timedelta(days=1))
    kept = add.apply_async((10, 10), expires=60)
    tomorrow = add.apply_async((10, 10), expires=datetime.now(UTC) + timedelta(days=1))
    both = add.apply_async((10, 10), countdown=0.1, expires=timedelta(seconds=120))
    time.sleep(0.02)
    running(app)
    assert [result.get(timeout=WAIT) for result in (kept, tomorrow, both)] == [20, 20, 20]
    for result in (gone, past):
        with pytest.raises(TaskRevokedError):
            result.get(timeout=WAIT)
        assert result.state == "REVOKED"


def test_retries_of_publishing(tasks: Any, app: Umbel, running: Any) -> None:
    add = tasks.add
    policy = {"max_retries": 3, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.2}
    running(app)
    assert add.apply_async((2, 2), retry=False).get(timeout=WAIT) == 4
    assert add.apply_async((2, 2), retry=True, retry_policy=policy).get(timeout=WAIT) == 4
    errors = {**policy, "retry_errors": (TimeoutError,)}
    assert add.apply_async((2, 2), retry=True, retry_policy=errors).get(timeout=WAIT) == 4
    none = {**policy, "retry_errors": None}
    assert add.apply_async((2, 2), retry=True, retry_policy=none).get(timeout=WAIT) == 4


@pytest.mark.parametrize("options", [{"retry": False}, {"retry_policy": {"max_retries": 1, "interval_start": 0}}])
def test_a_broker_that_is_not_there(caplog: Any, options: Any) -> None:
    app = Umbel("proj", broker="redis://127.0.0.1:1/0", backend="disabled://", set_as_current=False)
    app.conf.broker_publish_timeout = 0.5
    logger = get_task_logger("proj.views")

    @app.task(name="proj.tasks.add")
    def add(x: Any, y: Any) -> Any:
        return x + y

    try:
        add.apply_async((2, 2), **options)
    except add.OperationalError as exc:
        logger.exception("Sending task raised: %r", exc)
    with pytest.raises(OperationalError, match=r"127\.0\.0\.1:1"):
        add.delay(2, 2)
    assert "Sending task raised: " in caplog.text and "cannot reach Redis" in caplog.text


def test_serializers_and_compression(tasks: Any, app: Umbel, running: Any) -> None:
    add = tasks.add
    app.conf.accept_content = ["json", "pickle"]
    running(app)
    assert add.apply_async((10, 10), serializer="json").get(timeout=WAIT) == 20
    assert add.apply_async((10, 10), serializer="pickle").get(timeout=WAIT) == 20
    for compression in ("zlib", "gzip", "bzip2"):
        assert add.apply_async((2, 2), compression=compression).get(timeout=WAIT) == 4
    assert add.signature((2, 2), compression="zlib").delay().get(timeout=WAIT) == 4


def test_routing(tasks: Any, app: Umbel, running: Any) -> None:
    add = tasks.add
    running(app, queues=["celery", "priority.high"])
    assert add.apply_async((2, 2), queue="priority.high").get(timeout=WAIT) == 4
    for options in ({"priority": 9}, {"routing_key": "celery"}, {"exchange": "", "routing_key": "celery"}):
        assert add.apply_async((2, 2), **options).get(timeout=WAIT) == 4


def test_results(tasks: Any, app: Umbel, running: Any) -> None:
    add, quiet = tasks.add, tasks.quiet
    app.conf.update(result_extended=True)
    running(app)
    ignored = add.apply_async((1, 2), ignore_result=True)
    assert ignored.get() is None
    assert quiet.delay(1, 2).get() is None
    assert add.apply_async((1, 2), ignore_result=False).get(timeout=WAIT) == 3
    assert app.AsyncResult(ignored.id).state == "PENDING"
    extended = add.apply_async((2, 2), headers={"my_header": "x"}, shadow="other name")
    assert extended.get(timeout=WAIT) == 4
    assert (extended.name, extended.args, extended.queue) == ("proj.tasks.add", [2, 2], "celery")
