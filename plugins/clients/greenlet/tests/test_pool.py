"""What the pool of greenlets does beyond the contract, on gevent."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import gevent
import pytest

from umbel_kernel.errors import PoolError, Terminated, TimeLimitExceeded, WorkerLostError
from umbel_kernel.spi.pool import Job, Outcome, PoolOptions
from umbel_pool_gevent.pool import GeventPool

Make = Callable[..., Any]


class Rig:
    """A pool whose jobs are functions."""

    def __init__(self, size: int) -> None:
        self.pool = GeventPool()
        self.pool.open(size, lambda job: job.context["do"](), lambda: None, PoolOptions())
        self.outcomes: dict[int, Outcome] = {}
        self._ids = itertools.count(1)

    def submit(self, do: Callable[[], Any], count: int = 1, **fields: Any) -> list[int]:
        """Submit jobs that call a function."""
        headers = {"task": "named", "id": "of-this-id"}
        jobs = [Job(next(self._ids), b"", headers, context={"do": do}, **fields) for _ in range(count)]
        self.pool.submit(jobs)
        return [job.id for job in jobs]

    def collect(self) -> int:
        """Collect; returns how many jobs have ended in all."""
        self.outcomes.update((outcome.job_id, outcome) for outcome in self.pool.collect().finished)
        return len(self.outcomes)

    def until(self, done: Callable[[], Any], what: str, seconds: float = 20.0) -> None:
        """Wait for a condition."""
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, f"{what} did not happen"
            time.sleep(0.005)

    def ended(self, ids: list[int]) -> list[Outcome]:
        """Wait until jobs have ended."""
        self.until(lambda: self.collect() and set(ids) <= self.outcomes.keys(), "the end of the jobs")
        return [self.outcomes[job_id] for job_id in ids]


@pytest.fixture
def rig() -> Iterator[Callable[[int], Rig]]:
    made: list[Rig] = []

    def make(size: int) -> Rig:
        made.append(Rig(size))
        return made[-1]

    yield make
    for each in made:
        each.pool.terminate(timeout=1.0)


def test_jobs_that_do_not_wait_share_one_greenlet(rig: Callable[[int], Rig]) -> None:
    at_work = rig(100)
    ids = at_work.submit(gevent.getcurrent, 300)
    assert len({outcome.value for outcome in at_work.ended(ids)}) == 1
    assert at_work.pool.info()["greenlets"] == 1


def test_behind_a_job_that_waits_the_next_begins_at_once(rig: Callable[[int], Rig]) -> None:
    at_work = rig(200)
    together: list[int] = []

    def nap() -> None:
        together.append(at_work.pool.info()["busy"])
        time.sleep(0.5)

    began = time.monotonic()
    at_work.ended(at_work.submit(nap, 200))
    assert max(together) == 200, "not all of them were asleep at once"
    assert time.monotonic() - began < 200 * 0.5 / 10


def test_jobs_that_do_not_wait_let_others_run(rig: Callable[[int], Rig]) -> None:
    at_work = rig(10)

    def work() -> None:
        end = time.monotonic() + 0.003
        while time.monotonic() < end:
            pass

    turns = 0

    def count() -> None:
        nonlocal turns
        while True:
            time.sleep(0)
            turns += 1

    counting = gevent.spawn(count)
    at_work.ended(at_work.submit(work, 100))
    counting.kill()
    assert turns >= 20


def test_a_job_that_does_not_end_when_told_to_is_given_up(rig: Callable[[int], Rig], caplog: Any) -> None:
    at_work = rig(1)
    told = 0
    free = False

    def stubborn() -> None:
        nonlocal told
        while not free:
            try:
                time.sleep(0.01)
            except BaseException:
                told += 1

    (stuck,) = at_work.submit(stubborn, hard_limit=0.1)
    behind = at_work.submit(lambda: "runs", 3)
    first, *others = at_work.ended([stuck, *behind])
    assert isinstance(first.error, TimeLimitExceeded)
    assert [outcome.value for outcome in others] == ["runs"] * 3
    assert told == 4
    assert "(task named) does not end though it was told to 4 times" in caplog.text
    free = True
    at_work.until(lambda: "which was given up, has ended" in caplog.text, "its end")
    assert at_work.collect() == 4
    assert at_work.ended(at_work.submit(lambda: "still", 2))[1].value == "still"


def test_a_job_that_tidies_up_keeps_its_slot_meanwhile(rig: Callable[[int], Rig]) -> None:
    at_work = rig(1)
    steps: list[str] = []

    def tidy() -> None:
        try:
            time.sleep(30)
        finally:
            time.sleep(0.05)
            steps.append("tidied")

    (cut,) = at_work.submit(tidy)
    behind = at_work.submit(lambda: steps.append("next"))
    at_work.until(lambda: at_work.pool.info()["busy"], "the start")
    assert at_work.pool.cancel(cut)
    assert at_work.pool.cancel(cut), "it is running still"
    assert isinstance(at_work.ended([cut, *behind])[0].error, Terminated)
    assert steps == ["tidied", "next"]


def test_what_a_job_returns_after_its_limit_does_not_count(rig: Callable[[int], Rig]) -> None:
    at_work = rig(1)

    def swallow() -> str:
        try:
            time.sleep(30)
        except BaseException:
            return "all is well"
        return "in time"

    assert isinstance(at_work.ended(at_work.submit(swallow, hard_limit=0.05))[0].error, TimeLimitExceeded)


@pytest.mark.parametrize("error", [SystemExit(3), gevent.GreenletExit(), KeyboardInterrupt(), BaseException("odd")])
def test_an_exit_ends_the_job_alone(rig: Callable[[int], Rig], error: BaseException) -> None:
    at_work = rig(2)

    def leave() -> None:
        raise error

    (outcome,) = at_work.ended(at_work.submit(leave))
    assert isinstance(outcome.error, WorkerLostError)
    assert outcome.error.__cause__ is error
    assert at_work.ended(at_work.submit(lambda: "lives"))[0].value == "lives"


def test_a_job_blocked_by_another_still_gets_its_limit(rig: Callable[[int], Rig]) -> None:
    """A limit that is due while the hub cannot run strikes as soon as it can."""
    at_work = rig(2)

    def block() -> None:
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            pass

    (waiting,) = at_work.submit(lambda: time.sleep(30), hard_limit=0.2)
    at_work.until(lambda: at_work.pool.info()["busy"], "the start")
    at_work.submit(block)
    assert isinstance(at_work.ended([waiting])[0].error, TimeLimitExceeded)


def test_who_blocks_the_hub_is_named(rig: Callable[[int], Rig], caplog: Any) -> None:
    at_work = rig(2)

    def block() -> None:
        end = time.monotonic() + 20
        while time.monotonic() < end and "has held up" not in caplog.text:
            sum(range(1000))

    with caplog.at_level(logging.WARNING, "umbel.pool"):
        at_work.ended(at_work.submit(block))
        at_work.until(lambda: "hub goes on" in caplog.text, "the all-clear")
    assert "task named[of-this-id] has held up the gevent hub for" in caplog.text
    assert "the gevent hub goes on; task named[of-this-id] has held it up for" in caplog.text
    assert "sum(range(1000))" in caplog.text, "its place is shown"


def test_a_hub_that_runs_is_not_complained_of(rig: Callable[[int], Rig], caplog: Any) -> None:
    at_work = rig(2)
    at_work.ended(at_work.submit(lambda: time.sleep(2.0)))
    assert "hub" not in caplog.text


def test_its_watchdog_ends_with_it(rig: Callable[[int], Rig]) -> None:
    at_work = rig(2)
    at_work.ended(at_work.submit(lambda: None))
    watchdog = at_work.pool._watchdog
    at_work.pool.close()
    assert watchdog is not None
    assert watchdog._stopped
    at_work.until(lambda: at_work.pool.info()["greenlets"] == 0, "the end of the greenlets")


def test_sizes_that_cannot_be(rig: Callable[[int], Rig]) -> None:
    with pytest.raises(PoolError, match="at least 1"):
        rig(0)
    at_work = rig(2)
    with pytest.raises(PoolError, match="one must stay"):
        at_work.pool.shrink(2)
    at_work.pool.close()
    with pytest.raises(PoolError, match="takes no more jobs"):
        at_work.submit(threading.get_ident)
