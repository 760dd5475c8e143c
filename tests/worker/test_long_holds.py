"""Tasks that wait in the worker for longer than some brokers let a message be held."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from umbel.worker import waiting
from umbel_kernel.spi.message import Message


@pytest.fixture
def made(rig: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A worker's loop on a broker whose holds last as long as the connection, and which cannot let messages wait."""
    found = rig(size=2)
    found.loop.waiting.parks = False
    found.counts = None
    receive = found.consumer.receive

    def uncounted(limit: int, timeout: float | None) -> Any:
        deliveries = receive(limit, timeout)
        for delivery in deliveries:
            delivery.delivery_count = found.counts
        return deliveries

    monkeypatch.setattr(type(found.consumer), "lease", property(lambda self: None))
    monkeypatch.setattr(found.consumer, "receive", uncounted)
    return found


def send(made: Any, app: Any, due: datetime) -> None:
    """Send a task as a stranger does: the broker knows nothing of its time."""
    app.task(name="later")(print)
    headers = {"task": "later", "retries": 0, "timelimit": [None, None], "eta": due.isoformat(), "id": "1"}
    made.broker.publish([Message(b"[[], {}, {}]", made.queue.name, headers=headers)])


def pass_time(made: Any, seconds: float, monkeypatch: pytest.MonkeyPatch, began: datetime) -> None:
    """Let the worker's clocks go on, and turn as it would."""
    made.clock.now += seconds
    now = began + timedelta(seconds=made.clock.now - 1000.0)

    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return now

    monkeypatch.setattr(waiting, "datetime", Clock)
    monkeypatch.setattr(made.loop.dispatch, "_now", lambda: now)
    for _ in range(3):
        made.turn()


@pytest.mark.parametrize("seconds", [600, 4000])
def test_a_far_task_is_held_anew_in_time_and_run_once(
    made: Any, app: Any, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    began = datetime.now(UTC)
    send(made, app, began + timedelta(seconds=seconds))
    pass_time(made, 0, monkeypatch, began)
    deliveries = []
    for _ in range(int(seconds // 100) - 1):
        (held,) = made.loop.later.values()
        deliveries.append(held.delivery)
        assert deliveries.count(held.delivery) <= 10
        pass_time(made, 100, monkeypatch, began)
    assert len(set(map(id, deliveries))) == 1 + int((seconds - 101) // 900)
    assert not made.pool.waiting
    pass_time(made, 200, monkeypatch, began)
    assert len(made.pool.waiting) == 1
    assert (made.waiting, made.held) == (0, 1)
    assert not made.loop.later


def test_where_deliveries_are_counted_it_is_not(made: Any, app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    began = datetime.now(UTC)
    made.counts = 0
    send(made, app, began + timedelta(seconds=4000))
    pass_time(made, 0, monkeypatch, began)
    ((first, held),) = made.loop.later.items()
    for _ in range(30):
        pass_time(made, 100, monkeypatch, began)
    assert list(made.loop.later.items()) == [(first, held)]
