"""What the pool of threads promises beyond the suite of all pools."""

from __future__ import annotations

import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from umbel_kernel.errors import PoolError, SoftTimeLimitExceeded, WorkerLostError
from umbel_kernel.spi.pool import Job, Outcome, PoolOptions
from umbel_pool_threads import ThreadsPool


def job(number: int, body: bytes = b"") -> Job:
    return Job(number, body, {})


class Opened:
    """An open pool and what its wakes set."""

    def __init__(self, size: int, execute: Callable[[Job], Any], options: PoolOptions) -> None:
        self.pool = ThreadsPool()
        self.woken = threading.Event()
        self.pool.open(size, execute, self.woken.set, options)

    def gather(self, count: int) -> list[Outcome]:
        """Collect only when woken, so that a lost wake is seen."""
        found: list[Outcome] = []
        while len(found) < count:
            assert self.woken.wait(10), "a wake was lost"
            self.woken.clear()
            found += self.pool.collect().finished
        return sorted(found, key=lambda outcome: outcome.job_id)


@pytest.fixture
def open_pool() -> Iterator[Callable[..., Opened]]:
    opened: list[Opened] = []

    def make(size: int, execute: Callable[[Job], Any], options: PoolOptions | None = None) -> Opened:
        opened.append(Opened(size, execute, options or PoolOptions()))
        return opened[-1]

    yield make
    for one in opened:
        one.pool.terminate()


def test_no_wake_is_lost(open_pool: Callable[..., Opened]) -> None:
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        opened = open_pool(4, lambda task: None)
        numbers = itertools.count()
        for turn in range(2000):
            count = turn % 7 + 1
            opened.pool.submit([job(next(numbers)) for _ in range(count)])
            opened.gather(count)
    finally:
        sys.setswitchinterval(interval)


def test_withdrawing_is_exact_while_jobs_run(open_pool: Callable[..., Opened]) -> None:
    ran: list[int] = []
    opened = open_pool(3, lambda task: ran.append(task.id))
    withdrawn: set[int] = set()
    for start in range(0, 20_000, 100):
        opened.pool.submit([job(number) for number in range(start, start + 100)])
        withdrawn.update(opened.pool.withdraw(range(start, start + 100, 2)))
    opened.gather(20_000 - len(withdrawn))
    assert len(ran) == len(set(ran))
    assert not withdrawn & set(ran)
    assert withdrawn | set(ran) == set(range(20_000))


def test_exit_and_errors_end_the_job_alone(open_pool: Callable[..., Opened]) -> None:
    def execute(task: Job) -> str:
        if task.body == b"exit":
            sys.exit(3)
        if task.body == b"raise":
            raise ValueError("dear me")
        return threading.current_thread().name

    opened = open_pool(1, execute)
    opened.pool.submit([job(1), job(2, b"exit"), job(3, b"raise"), job(4)])
    first, left, broken, last = opened.gather(4)
    assert isinstance(left.error, WorkerLostError)
    assert "SystemExit(3)" in str(left.error)
    assert type(broken.error) is PoolError
    assert "ValueError: dear me" in str(broken.error)
    assert first.value == last.value


def test_all_threads_run_at_once_and_shrink_as_they_get_free(open_pool: Callable[..., Opened]) -> None:
    barrier, gate = threading.Barrier(5), threading.Event()

    def execute(task: Job) -> None:
        if task.body == b"meet":
            barrier.wait(10)
            gate.wait(10)

    opened = open_pool(4, execute)
    opened.pool.submit([job(number, b"meet") for number in range(4)])
    barrier.wait(10)
    opened.pool.shrink(3)
    assert opened.pool.size == 1
    assert opened.pool.info()["threads"] == 4
    with pytest.raises(PoolError, match="one must stay"):
        opened.pool.shrink(1)
    gate.set()
    opened.gather(4)
    end = time.monotonic() + 10
    while opened.pool.info()["threads"] != 1:
        assert time.monotonic() < end, "threads that are too many do not leave"
        time.sleep(0.002)
    opened.pool.grow(2)
    assert opened.pool.size == 3
    opened.pool.submit([job(10)])
    opened.gather(1)


def test_closing_after_resizing_runs_everything(open_pool: Callable[..., Opened]) -> None:
    for _ in range(50):
        opened = open_pool(2, lambda task: None)
        opened.pool.shrink(1)
        opened.pool.grow(1)
        opened.pool.shrink(1)
        opened.pool.submit([job(number) for number in range(20)])
        opened.pool.close()
        assert len(opened.gather(20)) == 20


def test_initialize_and_finalize_run_once(open_pool: Callable[..., Opened]) -> None:
    calls: list[str] = []
    options = PoolOptions(initialize=lambda: calls.append("up"), finalize=lambda: calls.append("down"))
    opened = open_pool(4, lambda task: calls.append("job"), options)
    opened.pool.submit([job(number) for number in range(3)])
    opened.gather(3)
    opened.pool.close()
    opened.pool.terminate()
    assert calls == ["up", "job", "job", "job", "down"]


def test_failed_initialize_is_said() -> None:
    def fail() -> None:
        raise RuntimeError("no such database")

    with pytest.raises(PoolError, match="no such database"):
        Opened(2, lambda task: None, PoolOptions(initialize=fail))
    with pytest.raises(PoolError, match="at least 1"):
        Opened(0, lambda task: None, PoolOptions())


def test_terminate_does_not_wait_for_ever(open_pool: Callable[..., Opened]) -> None:
    gate = threading.Event()
    opened = open_pool(1, lambda task: gate.wait(30))
    opened.pool.submit([job(1), job(2)])
    while 1 not in opened.pool.collect().started:
        gate.wait(0.002)
    opened.pool.terminate(timeout=0.1)
    assert not gate.is_set()
    with pytest.raises(PoolError, match="closed"):
        opened.pool.submit([job(3)])
    gate.set()
    assert [outcome.job_id for outcome in opened.gather(1)] == [1]


# Soft time limits


def test_a_limit_strikes_its_own_job_and_nothing_else(open_pool: Callable[..., Opened]) -> None:
    """Jobs that end just when their limits are up: the error comes too late for many of them."""

    def execute(task: Job) -> str:
        end = time.monotonic() + (0.002 if task.soft_limit else 0.0005)
        while time.monotonic() < end:
            pass
        return "whole"

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        opened = open_pool(3, execute)
        count = 600
        limits = [0.0019 + 0.00002 * (number % 20) if number % 2 else None for number in range(count)]
        jobs = [Job(number, b"", {}, soft_limit=limits[number]) for number in range(count)]
        opened.pool.submit(jobs)
        found: dict[int, Outcome] = {}
        end = time.monotonic() + 30
        while len(found) < count and time.monotonic() < end:
            found.update((outcome.job_id, outcome) for outcome in opened.pool.collect().finished)
    finally:
        sys.setswitchinterval(interval)
    assert len(found) == count
    struck = 0
    for number, outcome in found.items():
        if limits[number] is None:
            assert (outcome.value, outcome.error) == ("whole", None)
        elif outcome.error is not None:
            struck += 1
            assert isinstance(outcome.error, SoftTimeLimitExceeded)
            assert outcome.error.args == (limits[number],)
    assert struck
    assert opened.pool.info()["threads"] == 3
    assert not opened.pool._limits.runs


def test_a_limit_is_raised_where_the_framework_wants_it(open_pool: Callable[..., Opened]) -> None:
    asked: list[tuple[int, Any]] = []
    gate = threading.Event()

    def interrupt(number: int, error: Exception) -> bool:
        asked.append((number, error.args))
        gate.set()
        return True

    opened = open_pool(1, lambda task: [gate.wait(0.01) for _ in range(500) if not gate.is_set()] and "told")
    opened.pool._limits.interrupt = interrupt
    opened.pool.submit([Job(1, b"", {}, soft_limit=0.05)])
    end = time.monotonic() + 20
    found: list[Outcome] = []
    while not found and time.monotonic() < end:
        found += opened.pool.collect().finished
        time.sleep(0.005)
    assert asked == [(1, (0.05,))]
    assert found[0].error is None
