"""What the asyncio pool promises beyond the suite of all pools."""

from __future__ import annotations

import asyncio
import functools
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

from umbel.app.steered import Steered
from umbel_kernel.errors import NotSupported, PoolError, SoftTimeLimitExceeded, Terminated, TimeLimitExceeded
from umbel_kernel.spi.pool import Job, Outcome, PoolOptions
from umbel_pool_asyncio import AsyncioPool

WAIT = 20
Make = Callable[[Job], Coroutine[Any, Any, Any] | None]


def job(number: int, name: str = "work", **limits: Any) -> Job:
    return Job(number, b"", {"task": name, "id": f"id-{number}"}, **limits)


class Opened:
    """An open pool, and what came of it."""

    def __init__(self, size: int, make: Make, **settings: Any) -> None:
        self.pool = AsyncioPool()
        self.woken = threading.Event()
        self.started: list[int] = []
        self.ended: dict[int, Outcome] = {}

        def steered(job: Job) -> Steered | None:
            made = make(job)
            return None if made is None else Steered(made)

        self.pool.open(size, self.execute, self.woken.set, PoolOptions(coroutine=steered, settings=settings))

    def execute(self, job: Job) -> Any:
        return threading.current_thread().name

    def until(self, done: Callable[[], bool], what: str, *, look: float = 0.02) -> None:
        """Collect when woken, when a check is due, or after so many seconds."""
        end = time.monotonic() + WAIT
        while True:
            collected = self.pool.collect()
            self.started += collected.started
            self.ended.update((outcome.job_id, outcome) for outcome in collected.finished)
            if done():
                return
            assert time.monotonic() < end, f"waited in vain for {what}: {self.started}, {self.ended}"
            due = self.pool.next_check()
            self.woken.wait(look if due is None else min(due, look))
            self.woken.clear()

    def outcome(self, number: int) -> Outcome:
        self.until(lambda: number in self.ended, f"the end of job {number}")
        return self.ended[number]


def has_ended(opened: Opened, count: int) -> bool:
    return len(opened.ended) == count


@pytest.fixture
def open_pool() -> Iterator[Callable[..., Opened]]:
    opened: list[Opened] = []

    def make(size: int, make: Make, **settings: Any) -> Opened:
        opened.append(Opened(size, make, **settings))
        return opened[-1]

    yield make
    for one in opened:
        one.pool.terminate(timeout=1.0)


def test_thousands_run_at_once(open_pool: Callable[..., Opened]) -> None:
    running, most = 0, 0

    async def work() -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.5)
        running -= 1
        return 1

    opened = open_pool(3000, lambda job: work())
    opened.pool.submit([job(number) for number in range(3000)])
    opened.until(lambda: len(opened.ended) == 3000, "all to end")
    assert most == 3000
    assert sorted(opened.started) == list(range(3000))


def test_no_wake_is_lost(open_pool: Callable[..., Opened]) -> None:
    async def work() -> None:
        await asyncio.sleep(0)

    opened = open_pool(7, lambda job: work())
    number = 0
    for turn in range(300):
        count = turn % 9 + 1
        opened.pool.submit([job(number + each) for each in range(count)])
        number += count
        opened.until(functools.partial(has_ended, opened, number), f"{number} to end", look=WAIT)


def test_withdrawing_is_exact_while_jobs_run(open_pool: Callable[..., Opened]) -> None:
    ran: list[int] = []

    async def work(number: int) -> None:
        ran.append(number)

    opened = open_pool(3, lambda job: work(job.id))
    withdrawn: set[int] = set()
    for start in range(0, 10_000, 100):
        opened.pool.submit([job(number) for number in range(start, start + 100)])
        withdrawn.update(opened.pool.withdraw(range(start, start + 100, 2)))
    opened.until(lambda: len(opened.ended) == 10_000 - len(withdrawn), "the rest to end")
    assert len(ran) == len(set(ran))
    assert not withdrawn & set(ran)
    assert withdrawn | set(ran) == set(range(10_000))


def test_what_is_no_coroutine_runs_in_threads(open_pool: Callable[..., Opened]) -> None:
    async def work() -> str:
        return threading.current_thread().name

    opened = open_pool(5, lambda job: None if job.id % 2 else work(), asyncio_threads=2)
    opened.pool.submit([job(number) for number in range(10)])
    opened.until(lambda: len(opened.ended) == 10, "all to end")
    assert {opened.ended[number].value for number in range(0, 10, 2)} == {"umbel-asyncio"}
    assert all(opened.ended[number].value.startswith("umbel-job-") for number in range(1, 10, 2))
    assert opened.pool.info()["threads"] == 2


def test_a_plain_function_cannot_be_cancelled() -> None:
    gate = threading.Event()
    opened = Gated(gate)
    try:
        opened.pool.submit([job(1)])
        opened.until(lambda: opened.started == [1], "the job to begin")
        with pytest.raises(NotSupported, match=r"self\.cancelled"):
            opened.pool.cancel(1)
        gate.set()
        opened.outcome(1)
        assert opened.pool.cancel(1) is False
    finally:
        gate.set()
        opened.pool.terminate()


class Gated(Opened):
    """Plain jobs that wait at a gate."""

    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate
        super().__init__(2, lambda job: None)

    def execute(self, job: Job) -> Any:
        return self.gate.wait(WAIT)


def test_a_hard_limit_of_a_plain_function_is_said_once_to_have_no_effect(
    open_pool: Callable[..., Opened], caplog: pytest.LogCaptureFixture
) -> None:
    opened = open_pool(2, lambda job: None)
    opened.pool.submit(
        [job(1, "proj.plain", hard_limit=1.0), job(2, "proj.plain", hard_limit=1.0), job(3, "proj.other")]
    )
    opened.until(lambda: len(opened.ended) == 3, "all to end")
    said = [record.getMessage() for record in caplog.records]
    assert [text.partition(" has a hard")[0] for text in said] == ["task proj.plain[id-1]"]


def test_a_soft_limit_is_a_cancellation_for_what_knows_no_other(open_pool: Callable[..., Opened]) -> None:
    seen: list[Any] = []

    async def member() -> None:
        try:
            await asyncio.sleep(WAIT)
        except asyncio.CancelledError:
            seen.append("member cancelled")
            raise

    async def work() -> Any:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(member())
        except SoftTimeLimitExceeded as error:
            seen.append(error.args)
        running = asyncio.current_task()
        assert running is not None
        async with asyncio.timeout(0.01):
            pass
        return running.cancelling()

    opened = open_pool(1, lambda job: work())
    opened.pool.submit([job(1, soft_limit=0.1)])
    assert opened.outcome(1).value == 0, "the task must not count as cancelled afterwards"
    assert seen == ["member cancelled", (0.1,)]


def test_what_came_just_then_does_not_swallow_a_soft_limit(open_pool: Callable[..., Opened]) -> None:
    async def stubborn() -> str:
        try:
            await asyncio.sleep(WAIT)
        except asyncio.CancelledError:
            return "came all the same"
        return "slept"

    async def work() -> str:
        try:
            return await asyncio.ensure_future(stubborn())
        except SoftTimeLimitExceeded:
            return "told"

    opened = open_pool(1, lambda job: work())
    opened.pool.submit([job(1, soft_limit=0.1)])
    assert opened.outcome(1).value == "told"


def test_a_verdict_stands_whatever_the_coroutine_makes_of_it(open_pool: Callable[..., Opened]) -> None:
    async def work() -> str:
        try:
            await asyncio.sleep(WAIT)
        except asyncio.CancelledError:
            return "tidied up"
        return "slept"

    opened = open_pool(2, lambda job: work())
    opened.pool.submit([job(1), job(2, hard_limit=0.1)])
    opened.until(lambda: len(opened.started) == 2, "both to begin")
    assert opened.pool.cancel(1) is True
    assert isinstance(opened.outcome(1).error, Terminated)
    assert isinstance(opened.outcome(2).error, TimeLimitExceeded)


def test_who_swallows_its_cancellation_is_named(
    open_pool: Callable[..., Opened], caplog: pytest.LogCaptureFixture
) -> None:
    gate = threading.Event()

    async def work() -> str:
        while not gate.is_set():
            try:
                await asyncio.sleep(0.01)
            except asyncio.CancelledError:
                continue
        return "late"

    opened = open_pool(1, lambda job: work())
    opened.pool.submit([job(1, "proj.stubborn", hard_limit=0.1), job(2)])
    assert isinstance(opened.outcome(1).error, TimeLimitExceeded)
    gate.set()
    assert opened.outcome(2).value == "late"
    opened.pool.collect()
    assert "task proj.stubborn[id-1] was cancelled and goes on" in caplog.text


def test_what_blocks_the_loop_is_named(open_pool: Callable[..., Opened], caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()

    async def block(number: int) -> None:
        await asyncio.sleep(0)
        if number == 1:
            gate.wait(WAIT)

    def told(text: str) -> bool:
        return any(text in record.getMessage() for record in caplog.records)

    with caplog.at_level(logging.WARNING):
        opened = open_pool(2, lambda job: block(job.id), asyncio_stall=0.1)
        opened.pool.submit([job(1, "proj.blocks"), job(2)])
        opened.until(lambda: told("task proj.blocks[id-1] has held up the event loop"), "the warning")
        assert told("in block\n    gate.wait(WAIT)")
        gate.set()
        opened.until(lambda: told("the event loop goes on; task proj.blocks[id-1] has held it up"), "the all-clear")
        opened.until(lambda: len(opened.ended) == 2, "both to end")
        caplog.clear()
        opened.pool.submit([job(3)])
        opened.outcome(3)
        assert not told("held up")


def test_ends_although_the_loop_is_blocked(open_pool: Callable[..., Opened], caplog: pytest.LogCaptureFixture) -> None:
    gate = threading.Event()

    async def block() -> None:
        gate.wait(WAIT)

    opened = open_pool(1, lambda job: block())
    opened.pool.submit([job(1, "proj.blocks"), job(2)])
    opened.until(lambda: opened.started == [1], "the job to begin")
    began = time.monotonic()
    opened.pool.terminate(timeout=0.2)
    assert time.monotonic() - began < 10
    assert "something blocks the event loop, which is left behind: among task proj.blocks[id-1]" in caplog.text
    gate.set()


def test_what_jobs_leave_in_the_loop_is_ended(open_pool: Callable[..., Opened]) -> None:
    seen: list[str] = []
    left: list[Any] = []

    async def linger() -> None:
        try:
            await asyncio.sleep(WAIT)
        finally:
            seen.append("cancelled")

    async def numbers() -> Any:
        try:
            while True:
                yield 1
        finally:
            seen.append("closed")

    async def work() -> None:
        generator = numbers()
        left.extend((asyncio.ensure_future(linger()), generator))
        await anext(generator)

    opened = open_pool(1, lambda job: work())
    opened.pool.submit([job(1)])
    opened.outcome(1)
    opened.pool.close()
    opened.pool.terminate()
    assert sorted(seen) == ["cancelled", "closed"]


def test_other_event_loops(open_pool: Callable[..., Opened]) -> None:
    async def work() -> str:
        return type(asyncio.get_running_loop()).__name__

    opened = open_pool(1, lambda job: work(), asyncio_loop="asyncio:SelectorEventLoop")
    opened.pool.submit([job(1)])
    assert opened.outcome(1).value == "_UnixSelectorEventLoop"
    for wrong in ("no.such.module:loop", "asyncio:no_such_loop", "asyncio"):
        with pytest.raises(PoolError, match="asyncio_loop is"):
            open_pool(1, lambda job: work(), asyncio_loop=wrong)


def test_failed_initialize_is_said() -> None:
    def fail() -> None:
        raise RuntimeError("no such database")

    with pytest.raises(PoolError, match="no such database"):
        AsyncioPool().open(1, lambda job: None, lambda: None, PoolOptions(initialize=fail))
    with pytest.raises(PoolError, match="at least 1"):
        AsyncioPool().open(0, lambda job: None, lambda: None, PoolOptions())
