"""An app over the in-process broker and backend, and a worker that runs what is queued, in this thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from umbel.app.app import Umbel
from umbel.app.outcome import TaskOutcome
from umbel.app.runner import Runner
from umbel.model.current import joins
from umbel.model.ids import uuid
from umbel_kernel.spi.pool import Job


class Work:
    """Runs queued tasks until none is left, publishing and storing what follows as a worker does."""

    def __init__(self, app: Any) -> None:
        self.app = app
        self.names: list[str] = []
        self.headers: list[dict[str, Any]] = []
        self.bodies: list[Any] = []

    def __call__(self) -> list[str]:
        app, runner = self.app, Runner(self.app, "worker@here")
        broker = app.connections.broker()
        queue = app.queues["celery"]
        broker.declare([queue])
        consumer = broker.consumer([queue])
        try:
            while deliveries := consumer.receive(1, 0):
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
                self.bodies.append(app.content.loads(job.body, job.content_type, job.content_encoding))
                with joins(False):
                    outcome = TaskOutcome.unpack(runner(job), app.queues)
                if outcome.outgoing:
                    app.publisher.publish(outcome.outgoing)
                if outcome.record is not None:
                    app.backend.store([outcome.record])
                consumer.ack(deliveries)
        finally:
            consumer.close()
        return self.names


@pytest.fixture
def app() -> Iterator[Any]:
    """An app with the tasks that the tests use."""
    name = uuid()
    app = Umbel("canvas", broker=f"memory://{name}", backend=f"memory://{name}", set_as_current=True)
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
    app.close()


@pytest.fixture
def work(app: Any) -> Callable[[], list[str]]:
    """Runs what is queued; returns the names of the tasks that ran."""
    return Work(app)
