"""What to do with a delivery, decided from its headers."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from umbel.worker.dispatch import Dispatch, Fate
from umbel.worker.limits import LimitCheck
from umbel.worker.revoked import Revoked
from umbel_kernel.spi.message import Delivery
from umbel_kernel.spi.pool import PoolCapability

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)


def _delivery(**headers: Any) -> Delivery:
    plain = {"task": "t", "id": "1", "retries": 0, "timelimit": [None, None], **headers}
    return Delivery(b"[[], {}, {}]", "celery", 1, content_type="application/json", headers=plain)


@pytest.fixture
def decide(app: Any) -> Any:
    """``decide(eta=...)`` decides a delivery with these headers at noon."""
    app.task(name="t")(lambda: None)
    app.task(name="limited", soft_time_limit=5, time_limit=10)(lambda: None)
    made = Dispatch(app, Revoked(), soft=50, hard=100, now=lambda: NOW)
    call = lambda **headers: made.decide(_delivery(**headers))  # noqa: E731
    call.dispatch = made
    return call


def _iso(seconds: float) -> str:
    return (NOW + timedelta(seconds=seconds)).isoformat()


def test_a_task_runs_now(decide: Any) -> None:
    fate, held, fact = decide()
    assert (fate, fact) == (Fate.RUN, None)
    assert held.task_id == "1"
    assert held.name == "t"


@pytest.mark.parametrize(
    ("headers", "fate"),
    [
        ({"eta": _iso(1)}, Fate.LATER),
        ({"eta": _iso(-1)}, Fate.RUN),
        ({"eta": "2024-05-01T12:00:01"}, Fate.LATER),
        ({"eta": "2024-05-01T14:00:01+02:00"}, Fate.LATER),
        ({"eta": "2024-05-01T14:00:00+02:00"}, Fate.RUN),
        ({"expires": _iso(1)}, Fate.RUN),
        ({"expires": _iso(-1)}, Fate.EXPIRED),
        ({"expires": _iso(0)}, Fate.EXPIRED),
        ({"expires": _iso(-1), "eta": _iso(5)}, Fate.EXPIRED),
        ({"task": "none"}, Fate.DEAD),
        ({"task": 5}, Fate.DEAD),
        ({"id": 5}, Fate.DEAD),
        ({"eta": "soon"}, Fate.DEAD),
    ],
)
def test_fates(decide: Any, headers: dict[str, Any], fate: Fate) -> None:
    assert decide(**headers)[0] is fate


def test_when_it_is_due(decide: Any) -> None:
    assert decide(eta=_iso(7))[2] == NOW + timedelta(seconds=7)


def test_a_revoked_task(decide: Any) -> None:
    decide.dispatch.revoked.add(["1"])
    assert decide()[0] is Fate.REVOKED
    assert decide(id="2")[0] is Fate.RUN


def test_limits_come_from_the_call_then_the_task_then_the_worker(decide: Any) -> None:
    def limits(**headers: Any) -> tuple[float | None, float | None]:
        job = decide(**headers)[1].job
        return job.soft_limit, job.hard_limit

    assert limits() == (50, 100)
    assert limits(task="limited") == (5, 10)
    assert limits(task="limited", timelimit=[3, 2]) == (2, 3)
    assert limits(task="limited", timelimit=[None, 2]) == (2, 10)


def test_each_job_has_a_number_of_its_own(decide: Any) -> None:
    assert len({decide()[1].job.id for _ in range(100)}) == 100


def test_a_pool_that_cannot_keep_a_limit_is_told_of_once_for_each_task(app: Any, caplog: Any) -> None:
    for name in ("a", "b"):
        app.task(name=name, time_limit=10)(lambda: None)
    app.task(name="free")(lambda: None)
    check = LimitCheck("threads", {PoolCapability.SOFT_TIME_LIMIT})
    assert check.needed
    dispatch = Dispatch(app, Revoked(), check_limits=check, now=lambda: NOW)
    for name in ("a", "free", "b", "a", "b", "free"):
        dispatch.decide(_delivery(task=name))
    texts = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(texts) == 2
    assert texts[0].startswith("task a has a hard time limit of 10 s, which the pool 'threads' cannot enforce")


def test_a_pool_that_keeps_all_limits_needs_no_check() -> None:
    assert not LimitCheck("x", {PoolCapability.SOFT_TIME_LIMIT, PoolCapability.HARD_TIME_LIMIT}).needed
