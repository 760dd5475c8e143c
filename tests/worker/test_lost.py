"""Tasks that take their process with them: delivered again, counted, and put aside in the end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from umbel import Umbel
from umbel.model import signals, states
from umbel.worker.held import LOST_HEADER
from umbel_kernel.errors import TimeLimitExceeded, WorkerLostError


@pytest.fixture
def made(rig: Callable[..., Any], app: Umbel) -> Any:
    app.task(name="early")(lambda: None)
    app.task(name="late", acks_late=True)(lambda: None)
    app.task(name="again", acks_late=True, reject_on_worker_lost=True)(lambda: None)
    app.task(name="never", acks_late=True, reject_on_worker_lost=False)(lambda: None)
    app.task(name="retried", retry_on_worker_lost=True, max_retries=2, default_retry_delay=0)(lambda: None)
    app.task(name="slowly", retry_on_worker_lost=True, default_retry_delay=70)(lambda: None)
    app.task(name="bounded", acks_late=True, acks_on_timeout=False)(lambda: None)
    return rig(size=1)


def _kill(made: Any, error: Exception | None = None) -> Any:
    """Begin the next job, and let its process die of it. Returns the job, or None when there is none."""
    made.turn()
    if not made.pool.waiting:
        return None
    job = made.pool.begin()
    made.turn()
    made.pool.end(job, made.app, error=error or WorkerLostError("process 7 ended: killed by SIGKILL"))
    made.turn()
    return job


def _dead(made: Any) -> list[Any]:
    """What is in the dead-letter queue."""
    made.broker.declare([made.loop.refusing._queue])
    consumer = made.broker.consumer([made.loop.refusing._queue])
    found = consumer.receive(10, 0)
    consumer.ack(found)
    consumer.close()
    return list(found)


@pytest.mark.parametrize("name", ["late", "again"])
def test_what_takes_its_process_with_it_is_put_aside_after_three_times(made: Any, name: str) -> None:
    sent = made.app.send_task(name)
    counts = [_kill(made).headers.get(LOST_HEADER) for _ in range(3)]
    assert counts == [None, 1, 2]
    assert _kill(made) is None
    assert (made.held, made.waiting) == (0, 0)
    assert sent.state == states.FAILURE
    assert isinstance(sent.result, WorkerLostError)
    assert f"task {name} was running when 3 processes ended" in str(sent.result)
    (letter,) = _dead(made)
    assert letter.headers["id"] == sent.id
    assert letter.headers["umbel-dead-reason"] == f"WorkerLostError: {sent.result}"


@pytest.mark.parametrize(("limit", "runs"), [(1, 1), (2, 2), (5, 5)])
def test_how_often_can_be_set(app: Umbel, limit: int, runs: int, request: Any) -> None:
    app.conf.task_worker_lost_limit = limit
    made = request.getfixturevalue("made")
    sent = app.send_task("again")
    assert [bool(_kill(made)) for _ in range(7)] == [True] * runs + [False] * (7 - runs)
    assert sent.state == states.FAILURE
    assert len(_dead(made)) == 1


def test_zero_is_no_limit(app: Umbel, request: Any) -> None:
    app.conf.task_worker_lost_limit = 0
    made = request.getfixturevalue("made")
    sent = app.send_task("again")
    assert all(_kill(made) for _ in range(12))
    assert sent.state == states.PENDING
    assert _dead(made) == []


@pytest.mark.parametrize("name", ["early", "never"])
def test_others_fail_at_once_and_are_not_put_aside(made: Any, name: str) -> None:
    sent = made.app.send_task(name)
    assert _kill(made)
    assert _kill(made) is None
    assert isinstance(sent.result, WorkerLostError)
    assert str(sent.result) == "process 7 ended: killed by SIGKILL"
    assert _dead(made) == []


def test_a_retry_follows_the_limits_of_the_task(made: Any) -> None:
    told: list[Any] = []
    receive = lambda sender, request, reason, **_: told.append((sender.name, request.id, reason.when))  # noqa: E731
    signals.task_retry.connect(receive, weak=False)
    sent = made.app.send_task("retried")
    runs = []
    try:
        for _ in range(3):
            job = _kill(made)
            runs.append((job.headers["retries"], job.headers["id"]))
            if len(runs) < 3:
                assert sent.state == states.RETRY
    finally:
        signals.task_retry.disconnect(receive)
    assert runs == [(0, sent.id), (1, sent.id), (2, sent.id)]
    assert told == [("retried", sent.id, 0)] * 2
    assert _kill(made) is None
    assert isinstance(sent.result, WorkerLostError)
    (letter,) = _dead(made)
    assert letter.headers["id"] == sent.id


def test_a_retry_waits_as_long_as_the_task_says(made: Any) -> None:
    sent = made.app.send_task("slowly")
    assert _kill(made)
    assert _kill(made) is None
    assert sent.state == states.RETRY
    due = made.consumer._store.queues[made.queue.name].next_due()
    assert due == pytest.approx(time.monotonic() + 70, abs=20)


def test_without_acks_on_timeout_a_killed_task_is_delivered_again_and_put_aside_in_the_end(made: Any) -> None:
    sent = made.app.send_task("bounded")
    assert [bool(_kill(made, TimeLimitExceeded(2))) for _ in range(4)] == [True, True, True, False]
    assert isinstance(sent.result, TimeLimitExceeded)
    (letter,) = _dead(made)
    assert letter.headers["umbel-dead-reason"].startswith("TimeLimitExceeded")


def test_healthy_tasks_beside_a_poisonous_one_keep_their_pace(app_on_sqlite: Any, running: Any) -> None:
    app = app_on_sqlite
    app.conf.task_acks_late = True

    @app.task(name="poison")
    def poison() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    app.task(name="healthy")(lambda number: time.sleep(0.01) or number)
    running(app, pool="prefork", concurrency=2)
    assert app.send_task("healthy", (0,)).get(timeout=20) == 0
    bad = [app.send_task("poison") for _ in range(3)]
    good = [app.send_task("healthy", (number,)) for number in range(150)]
    before = time.monotonic()
    assert [result.get(timeout=30) for result in good] == list(range(150))
    for result in bad:
        with pytest.raises(WorkerLostError, match="was running when 3 processes ended"):
            result.get(timeout=30)
    # Alone they take 0.75 s; nine dead processes are no more than a little delay.
    assert time.monotonic() - before < 15
    assert app.connections.broker().size(["umbel.dead-letter"]) == {"umbel.dead-letter": 3}
