"""Workflows sent from here and run by a real Celery worker, over Redis, and the other way round."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest

from umbel.app.app import Umbel
from umbel.app.outcome import TaskOutcome
from umbel.app.runner import Runner
from umbel.canvas import chain, chord, group
from umbel.model.ids import uuid
from umbel_kernel.spi.pool import Job

celery = pytest.importorskip("celery")

from celery.contrib.testing.worker import start_worker  # noqa: E402


def add(x: int, y: int = 0) -> int:
    """What both sides run."""
    return x + y


def fail(*args: Any) -> None:
    """What both sides fail with."""
    raise ValueError("no luck")


def total(numbers: list[int]) -> int:
    """What only Celery's side runs."""
    return sum(numbers)


def stamps(self: Any, *args: Any) -> Any:
    """What Celery's request says of stamps."""
    return [self.request.stamped_headers, self.request.stamps]


@pytest.fixture
def queue() -> str:
    """A queue of this test's own."""
    return f"test-{uuid()}"


@pytest.fixture
def theirs(redis_url: str, queue: str) -> Iterator[Any]:
    """A Celery app."""
    app = celery.Celery("theirs", broker=redis_url, backend=redis_url, set_as_current=False)
    app.conf.update(
        task_default_queue=queue,
        result_expires=60,
        worker_hijack_root_logger=False,
        broker_connection_retry_on_startup=True,
    )
    app.task(name="tasks.add", shared=False)(add)
    app.task(name="tasks.fail", shared=False)(fail)
    app.task(name="tasks.total", shared=False)(total)
    app.task(name="tasks.stamps", bind=True, shared=False)(stamps)
    app.finalize()
    yield app
    with contextlib.closing(app.connection_for_write()) as connection:
        connection.default_channel.client.delete(queue, f"_kombu.binding.{queue}")
    app.close()


@pytest.fixture
def ours(redis_url: str, queue: str) -> Iterator[Any]:
    """An app of ours on the same broker, store and queue."""
    app = Umbel("ours", broker=redis_url, backend=redis_url, task_default_queue=queue, result_expires=60)
    app.task(name="tasks.add")(add)
    app.task(name="tasks.fail")(fail)
    yield app
    app.close()


@pytest.fixture
def celery_worker(theirs: Any) -> Iterator[None]:
    """A Celery worker in a thread of this process."""
    root = logging.getLogger()
    level = root.level
    with start_worker(theirs, pool="solo", perform_ping_check=False, loglevel="ERROR", shutdown_timeout=20):
        yield
    # Celery sets it for the whole process, and the tests after these would not see what is logged.
    root.setLevel(level)


def test_celery_runs_what_we_send(ours: Any, theirs: Any, celery_worker: None) -> None:
    task, broken = ours.tasks["tasks.add"], ours.tasks["tasks.fail"]
    in_turn = (task.s(1, 2) | task.s(10) | task.s(100)).delay()
    at_once = group(task.s(n, n) for n in range(5))()
    spread = chain(task.s(1, 1), group(task.s(10), task.s(20))).apply_async()
    mapped = task.starmap([(1, 2), (3, 4)]).delay()
    failed = (broken.s() | task.s(1)).delay()
    assert in_turn.get(timeout=20) == 113
    assert in_turn.parent.get(timeout=20) == 13
    assert at_once.get(timeout=20) == [0, 2, 4, 6, 8]
    assert spread.get(timeout=20) == [12, 22]
    assert mapped.get(timeout=20) == [3, 7]
    with pytest.raises(ValueError, match="no luck") as caught:
        failed.get(timeout=20)
    assert "in fail" in str(caught.value.__cause__)


def test_celery_reads_nested_bodies_that_leave_out_what_says_nothing(
    ours: Any, theirs: Any, celery_worker: None
) -> None:
    task, body = ours.tasks["tasks.add"], ours.signature("tasks.total")
    inner = [chord([task.s(n, 1), task.s(n, 2)], body.clone()) for n in range(3)]
    result = chord([*inner, task.s(100)], body.clone()).delay()
    assert result.get(timeout=20) == 100 + sum(2 * n + 3 for n in range(3))


def test_celerys_tasks_see_the_stamps_of_our_workflows(ours: Any, theirs: Any, celery_worker: None) -> None:
    seen = ours.signature("tasks.stamps")
    flow = group(seen.clone(), seen.clone() | seen.clone())
    flow.stamp(tenant="t1")
    assert flow.delay().get(timeout=20) == [[["tenant"], {"tenant": "t1"}]] * 2


def test_we_run_what_celery_sends(ours: Any, theirs: Any, queue: str) -> None:
    task, broken = theirs.tasks["tasks.add"], theirs.tasks["tasks.fail"]
    in_turn = (task.s(1, 2) | task.s(10) | task.s(100)).delay()
    at_once = celery.group(task.s(n, n) for n in range(5))()
    spread = celery.chain(task.s(1, 1), celery.group(task.s(10), task.s(20))).apply_async()
    failed = (broken.s() | task.s(1)).delay()
    # The header of this chord is sent by whoever runs the first task, so it is counted by whom it is run.
    gathered = celery.chain(task.s(1, 1), celery.group(task.s(1), task.s(2)), sum_up(theirs), task.s(5)).apply_async()
    ours.task(name="tasks.sum")(sum)
    assert run(ours, queue, until=3 + 5 + 3 + 1 + 5) == 17
    assert in_turn.get(timeout=20) == 113
    assert at_once.get(timeout=20) == [0, 2, 4, 6, 8]
    assert spread.get(timeout=20) == [12, 22]
    assert gathered.get(timeout=20) == 12
    with pytest.raises(ValueError, match="no luck"):
        failed.get(timeout=20)


def sum_up(theirs: Any) -> Any:
    """A signature of a task that only the worker knows."""
    return theirs.signature("tasks.sum")


def run(app: Any, name: str, *, until: int) -> int:
    """Run so many tasks from a queue as a worker of ours does; returns how many came within ten seconds each."""
    runner, broker, queue = Runner(app, "worker@here"), app.connections.broker(), app.queues[name]
    broker.declare([queue])
    consumer = broker.consumer([queue])
    count = 0
    try:
        while count < until:
            deliveries = consumer.receive(1, 10)
            if not deliveries:
                break
            (delivery,) = deliveries
            job = Job(1, delivery.body, delivery.headers, delivery.content_type, delivery.content_encoding)
            outcome = TaskOutcome.unpack(runner(job), app.queues)
            if outcome.outgoing:
                app.publisher.publish(outcome.outgoing)
            if outcome.record is not None:
                app.backend.store([outcome.record])
            consumer.ack(deliveries)
            count += 1
    finally:
        consumer.close()
    return count
