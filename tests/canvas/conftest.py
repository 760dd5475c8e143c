"""An app over the in-process broker and backend, and a worker that runs what is queued, in this thread."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from umbel.app.app import Umbel
from umbel.app.outcome import TaskOutcome
from umbel.app.runner import Runner
from umbel.model import signals
from umbel.model.current import joins
from umbel.model.ids import uuid
from umbel_kernel.errors import NotSupported
from umbel_kernel.spi.backend import BackendCapability
from umbel_kernel.spi.pool import Job

_ON_ALL_STORES = ("test_running", "test_shapes", "test_errbacks", "test_unsendable")


class Work:
    """Runs queued tasks until none is left, publishing and storing what follows as a worker does."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.patience = 0.05 if app.has_reply_to else 0.0
        self.names: list[str] = []
        self.headers: list[dict[str, Any]] = []
        self._bodies: list[Any] = []
        if app.conf.task_always_eager:
            signals.task_prerun.connect(self._ran, weak=True)

    def _ran(self, sender: Any = None, **_: Any) -> None:
        request = sender.request
        names = ("id", "task", "root_id", "parent_id", "group", "group_index", "replaced_task_nesting")
        self.names.append(sender.name)
        self.headers.append({name: getattr(request, name) for name in names})

    @property
    def bodies(self) -> list[Any]:
        """The bodies of the messages."""
        assert not self.app.conf.task_always_eager, "an eager run sends no messages: mark the test with 'sent'"
        return self._bodies

    def __call__(self) -> list[str]:
        if self.app.conf.task_always_eager:
            return self.names
        app, runner = self.app, Runner(self.app, "worker@here")
        broker = app.connections.broker()
        queue = app.queues[app.conf.task_default_queue]
        broker.declare([queue])
        consumer = broker.consumer([queue])
        try:
            while True:
                deliveries = consumer.receive(1, self.patience)
                if not deliveries:
                    if not self.patience or not broker.size([queue.name])[queue.name]:
                        break
                    continue
                (delivery,) = deliveries
                job = Job(
                    1, delivery.body, delivery.headers, delivery.content_type, delivery.content_encoding,
                    {
                        "delivery_info": {"routing_key": delivery.routing_key, "priority": delivery.priority},
                        "reply_to": delivery.reply_to,
                    },
                )  # fmt: skip
                self.names.append(delivery.headers["task"])
                self.headers.append(delivery.headers)
                self._bodies.append(app.content.loads(job.body, job.content_type, job.content_encoding))
                with joins(False):
                    outcome = TaskOutcome.unpack(runner(job), app.queues)
                if outcome.outgoing:
                    app.publisher.publish(outcome.outgoing)
                if outcome.record is not None:
                    app.backend.store([outcome.record])
                consumer.ack(deliveries)
        finally:
            consumer.close()
        time.sleep(2 * self.patience)  # until replies that are on their way have come
        return self.names


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Any:
    """Skip what needs a chord where the store refuses them: replies come to who called, and nobody else sees them."""
    try:
        return (yield)
    except NotSupported as error:
        if "[rpc" in pyfuncitem.name and "a chord needs a result backend" in str(error):
            pytest.skip(str(error))
        raise


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run workflows on each kind of store, and eagerly unless they are marked as being about what is sent."""
    if metafunc.module.__name__.rpartition(".")[2] in _ON_ALL_STORES and "app" in metafunc.fixturenames:
        kinds = ["memory", "redis", "sqlite", pytest.param("rpc", marks=pytest.mark.slow)]
        if metafunc.definition.get_closest_marker("sent") is None:
            kinds.append("eager")
        metafunc.parametrize("app", kinds, indirect=True)


@pytest.fixture
def app(request: pytest.FixtureRequest, urls_of: Callable[[str], tuple[str, str]]) -> Iterator[Any]:
    """An app with the tasks that the tests use, in this process or by the parameter on another store."""
    kind = getattr(request, "param", "memory")
    broker, backend = urls_of(kind)
    app = Umbel("canvas", broker=broker, backend=backend, set_as_current=True, result_expires=60)
    if kind == "rpc":
        app.conf.task_default_queue = f"test-{uuid()}"
    if kind == "eager":
        app.conf.update(task_always_eager=True, task_store_eager_result=True)
    app.log_of_calls = []  # type: ignore[attr-defined]

    @app.task(name="tasks.add")
    def add(x: int, y: int = 0) -> int:
        return x + y

    @app.task(name="tasks.total")
    def total(numbers: Any) -> Any:
        return sum(sum(n) if isinstance(n, list) else n for n in numbers)

    @app.task(name="tasks.same")
    def same(value: Any) -> Any:
        return value

    @app.task(name="tasks.fail")
    def fail(*args: Any) -> None:
        raise ValueError("no luck")

    @app.task(name="tasks.note")
    def note(*args: Any) -> None:
        app.log_of_calls.append(("note", *args))  # type: ignore[attr-defined]

    @app.task(name="tasks.old_errback")
    def old_errback(task_id: str) -> None:
        app.log_of_calls.append(("old", task_id))  # type: ignore[attr-defined]

    @app.task(name="tasks.new_errback")
    def new_errback(request: Any, exc: Any, traceback: Any) -> None:
        app.log_of_calls.append(("new", request.id, exc, traceback))  # type: ignore[attr-defined]

    app.add, app.total, app.same, app.fail, app.note = add, total, same, fail, note  # type: ignore[attr-defined]
    app.old_errback, app.new_errback = old_errback, new_errback  # type: ignore[attr-defined]
    yield app
    if kind == "rpc":
        app.connections.broker().delete([app.conf.task_default_queue])
    app.close()


@pytest.fixture
def theirs(tmp_path: Any) -> Any:
    """A Celery app with the same tasks, whose messages stay in this process."""
    celery = pytest.importorskip("celery")
    app = celery.Celery("theirs", broker=f"memory://{tmp_path.name}", backend="cache+memory://", set_as_current=False)

    def nothing(*args: Any, **kwargs: Any) -> None:
        """Messages are made here, and nothing is run."""

    for name in ("add", "total", "same", "fail", "note"):
        app.task(name=f"tasks.{name}", shared=False)(nothing)
    app.finalize()
    return app


@pytest.fixture
def messages_of(theirs: Any) -> Callable[[Any], list[tuple[dict[str, Any], Any]]]:
    """Sends a workflow of Celery's; returns the headers and bodies of what was put into the queue."""
    kombu = pytest.importorskip("kombu")

    def messages(flow: Any) -> list[tuple[dict[str, Any], Any]]:
        flow.apply_async()
        found = []
        with kombu.Connection(theirs.conf.broker_url) as connection:
            queue = connection.SimpleQueue("celery")
            while True:
                try:
                    message = queue.get(block=False)
                except queue.Empty:
                    break
                found.append((message.headers, json.loads(message.body)))
                message.ack()
            queue.close()
        return found

    return messages


@pytest.fixture
def work(app: Any) -> Callable[[], list[str]]:
    """Runs what is queued; returns the names of the tasks that ran."""
    return Work(app)


@pytest.fixture
def telling(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """An app whose tasks return what they are called and with what; ``told`` is what callbacks and errbacks note.

    It is in this process, or by the parameter ``"redis"`` on that; by ``"amqp"`` its broker is RabbitMQ, and by
    ``"polled"`` its store cannot count chords.
    """
    name, where = uuid(), getattr(request, "param", "")
    url = request.getfixturevalue("redis_url") if where in ("redis", "amqp") else f"memory://{name}"
    broker = request.getfixturevalue("amqp_url") if where == "amqp" else url
    app = Umbel(
        "telling", broker=broker, backend=url, task_default_queue=f"test-{name}", result_expires=60, set_as_current=True
    )
    if where == "polled":
        monkeypatch.setattr(type(app.load_backend()), "capabilities", frozenset({BackendCapability.SHARED}))
        app.conf.result_chord_retry_interval = 0
    told: list[tuple[str, str]] = []
    app.told = told  # type: ignore[attr-defined]

    @app.task(name="tag")
    def tag(*args: Any, tag: str) -> Any:
        return [tag, *args]

    @app.task(name="fail")
    def fail(*args: Any, tag: str) -> None:
        raise ValueError(tag)

    @app.task(name="again", bind=True)
    def again(self: Any, *args: Any, tag: str) -> Any:
        if not self.request.retries:
            raise self.retry(countdown=0)
        return [tag, *args]

    @app.task(name="become", bind=True)
    def become(self: Any, *args: Any, tag: str, sig: Any, hands_on: bool) -> Any:
        sig = self.app.signature(sig)
        return self.replace(sig.clone(args) if hands_on else sig)

    @app.task(name="one")
    def one(value: str) -> Any:
        if value.startswith("broken"):
            raise ValueError(value)
        return ["one", value]

    @app.task(name="link")
    def link(value: Any, tag: str) -> None:
        told.append((tag, json.dumps(value)))

    @app.task(name="old")
    def old(task_id: str, tag: str) -> None:
        told.append((tag, ""))

    @app.task(name="new")
    def new(request: Any, exc: Any, traceback: Any, tag: str) -> None:
        told.append((tag, type(exc).__name__))

    yield app
    app.connections.broker().delete([f"test-{name}"])
    app.close()
