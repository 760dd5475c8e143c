"""What the solo pool promises beyond the suite of all pools."""

from __future__ import annotations

import itertools
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from umbel_kernel.errors import PoolError, SoftTimeLimitExceeded, WorkerLostError
from umbel_kernel.spi.pool import Job, Outcome, PoolOptions
from umbel_pool_solo import SoloPool


def job(number: int, body: bytes = b"") -> Job:
    return Job(number, body, {})


def drive(
    loop: Callable[[SoloPool, threading.Event], Any],
    execute: Callable[[Job], Any],
    options: PoolOptions | None = None,
) -> Any:
    """Play the loop in a thread and drive here. Returns what the loop returned or raised."""
    pool = SoloPool()
    woken = threading.Event()
    pool.open(1, execute, woken.set, options or PoolOptions())
    results: list[Any] = [None, None]

    def play() -> None:
        try:
            results[0] = loop(pool, woken)
        except Exception as error:
            results[1] = error
        finally:
            pool.close()

    thread = threading.Thread(target=play)
    thread.start()
    try:
        pool.drive()
    finally:
        thread.join()
    if results[1] is not None:
        raise results[1]
    return results[0]


def gather(pool: SoloPool, woken: threading.Event, count: int) -> list[Outcome]:
    """Collect only when woken, so that a lost wake is seen."""
    found: list[Outcome] = []
    while len(found) < count:
        assert woken.wait(10), "a wake was lost"
        woken.clear()
        found += pool.collect().finished
    return found


def test_no_wake_is_lost_in_either_direction() -> None:
    def loop(pool: SoloPool, woken: threading.Event) -> int:
        numbers = itertools.count()
        total = 0
        for turn in range(4000):
            count = turn % 4 + 1
            pool.submit([job(next(numbers)) for _ in range(count)])
            total += len(gather(pool, woken, count))
        return total

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        assert drive(loop, lambda task: None) == 10_000
    finally:
        sys.setswitchinterval(interval)


def test_withdrawing_is_exact_while_jobs_run() -> None:
    ran: list[int] = []

    def loop(pool: SoloPool, woken: threading.Event) -> set[int]:
        withdrawn: set[int] = set()
        for start in range(0, 20_000, 100):
            pool.submit([job(number) for number in range(start, start + 100)])
            withdrawn.update(pool.withdraw(range(start, start + 100, 2)))
        return withdrawn

    withdrawn = drive(loop, lambda task: ran.append(task.id))
    assert len(ran) == len(set(ran))
    assert not withdrawn & set(ran)
    assert withdrawn | set(ran) == set(range(20_000))


def test_exit_and_errors_end_the_job_alone() -> None:
    def execute(task: Job) -> str:
        if task.body == b"exit":
            sys.exit(3)
        if task.body == b"raise":
            raise ValueError("dear me")
        return "done"

    def loop(pool: SoloPool, woken: threading.Event) -> list[Outcome]:
        pool.submit([job(1, b"exit"), job(2, b"raise"), job(3)])
        return gather(pool, woken, 3)

    left, broken, done = drive(loop, execute)
    assert isinstance(left.error, WorkerLostError)
    assert "sys.exit(3)" in str(left.error)
    assert type(broken.error) is PoolError
    assert "ValueError: dear me" in str(broken.error)
    assert isinstance(broken.error.__cause__, ValueError)
    assert done.value == "done"


def test_interrupt_leaves_drive_and_loses_no_outcome() -> None:
    pool = SoloPool()
    woken = threading.Event()

    def execute(task: Job) -> None:
        if task.id == 1:
            signal.raise_signal(signal.SIGINT)
            time.sleep(10)

    pool.open(1, execute, woken.set, PoolOptions())
    pool.submit([job(1), job(2)])
    with pytest.raises(KeyboardInterrupt):
        pool.drive()
    collected = pool.collect()
    assert collected.started == [1]
    assert isinstance(collected.finished[0].error, WorkerLostError)
    pool.close()
    pool.drive()
    assert [outcome.job_id for outcome in pool.collect().finished] == [2]


def test_initialize_and_finalize_run_once_where_jobs_run() -> None:
    calls: list[tuple[str, int]] = []

    def note(what: str) -> None:
        calls.append((what, threading.get_ident()))

    def loop(pool: SoloPool, woken: threading.Event) -> int:
        pool.submit([job(1)])
        gather(pool, woken, 1)
        return threading.get_ident()

    options = PoolOptions(initialize=lambda: note("up"), finalize=lambda: note("down"))
    other = drive(loop, lambda task: note("job"), options)
    here = threading.get_ident()
    assert other != here
    assert calls == [("up", here), ("job", here), ("down", here)]


def test_failed_initialize_is_said_and_closes_the_pool() -> None:
    def fail() -> None:
        raise RuntimeError("no such database")

    pool = SoloPool()
    pool.open(1, lambda task: None, lambda: None, PoolOptions(initialize=fail))
    with pytest.raises(PoolError, match="no such database"):
        pool.drive()
    with pytest.raises(PoolError, match="closed"):
        pool.submit([job(1)])


def test_start_of_a_long_job_is_told_at_once() -> None:
    gate = threading.Event()

    def loop(pool: SoloPool, woken: threading.Event) -> float:
        pool.submit([job(1)])
        began = time.monotonic()
        while 1 not in pool.collect().started:
            due = pool.next_check()
            assert due is not None
            time.sleep(due)
        told = time.monotonic() - began
        assert pool.next_check() is None
        gate.set()
        return told

    assert drive(loop, lambda task: gate.wait(10)) < 1.0


def test_terminate_in_the_driving_thread_does_not_wait_for_itself() -> None:
    pool = SoloPool()
    began = time.monotonic()
    pool.open(1, lambda task: pool.terminate(timeout=5), lambda: None, PoolOptions())
    pool.submit([job(1), job(2)])
    pool.drive()
    assert time.monotonic() - began < 2
    assert [outcome.job_id for outcome in pool.collect().finished] == [1]


def test_a_soft_limit_ends_a_wait_in_the_main_thread() -> None:
    """The tests run in the main thread, so the limit comes by a signal: ``sleep`` does not go on to its end."""
    before = signal.getsignal(signal.SIGURG)

    def play(pool: SoloPool, woken: threading.Event) -> list[Outcome]:
        pool.submit([Job(1, b"", {}, soft_limit=0.2), job(2)])
        found: list[Outcome] = []
        end = time.monotonic() + 20
        while len(found) < 2 and time.monotonic() < end:
            due = pool.next_check()
            woken.wait(5 if due is None else due)
            woken.clear()
            found += pool.collect().finished
        return found

    def execute(task: Job) -> str:
        if task.soft_limit:
            time.sleep(60)
        return "done"

    began = time.monotonic()
    first, second = drive(play, execute)
    assert time.monotonic() - began < 15
    assert isinstance(first.error, SoftTimeLimitExceeded)
    assert first.error.args == (0.2,)
    assert second.value == "done"
    assert signal.getsignal(signal.SIGURG) is before
