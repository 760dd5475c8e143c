"""A pool in a loop of its own, as a worker has it."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from umbel_kernel.spi.pool import Job, Outcome, PoolOptions
from umbel_pool_prefork import PreforkPool


class Loop:
    """Opens a pool and collects as a worker's loop does: when it is woken, or when the pool asks for it."""

    def __init__(self, size: int, execute: Callable[[Job], Any], options: PoolOptions | None = None) -> None:
        self.pool = PreforkPool()
        self.started: list[int] = []
        self.outcomes: dict[int, Outcome] = {}
        self.wakes = 0
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self.pool.open(size, execute, self._wake, options or PoolOptions())

    def _wake(self) -> None:
        self.wakes += 1
        try:
            os.write(self._write, b"w")
        except BlockingIOError:
            pass

    def turn(self, most: float) -> None:
        """Wait for a wake, or as long as the pool allows, and collect."""
        asked = self.pool.next_check()
        ready, _, _ = select.select([self._read], [], [], most if asked is None else min(most, asked))
        if ready:
            os.read(self._read, 65536)
        collected = self.pool.collect()
        for job_id in collected.started:
            assert job_id not in self.started, f"job {job_id} was told twice as started"
            assert job_id not in self.outcomes, f"job {job_id} was told as started after it ended"
            self.started.append(job_id)
        for outcome in collected.finished:
            assert outcome.job_id not in self.outcomes, f"job {outcome.job_id} has two outcomes"
            self.outcomes[outcome.job_id] = outcome

    def until(self, condition: Callable[[], bool], *, within: float = 20.0, what: str = "a condition") -> None:
        """Turn until a condition holds."""
        end = time.monotonic() + within
        while not condition():
            left = end - time.monotonic()
            assert left > 0, f"waited {within} s in vain for {what}; {self.pool.info()}"
            self.turn(min(left, 0.5))

    def run(self, jobs: list[Job], *, within: float = 20.0) -> list[Outcome]:
        """Submit jobs and return their outcomes."""
        self.pool.submit(jobs)
        self.until(lambda: all(job.id in self.outcomes for job in jobs), within=within, what="outcomes")
        return [self.outcomes[job.id] for job in jobs]

    def ready(self) -> None:
        """Turn until every child takes jobs."""
        slots = self.pool._brood.working
        self.until(lambda: len(slots) == self.pool.size and all(slot.usable for slot in slots), what="ready children")

    def close(self) -> None:
        self.pool.close()
        self.pool.terminate(timeout=5.0)
        os.close(self._read)
        os.close(self._write)


@pytest.fixture
def open_loop() -> Iterator[Callable[..., Loop]]:
    """Opens pools that are terminated after the test."""
    opened: list[Loop] = []

    def make(size: int, execute: Callable[[Job], Any], options: PoolOptions | None = None) -> Loop:
        opened.append(Loop(size, execute, options))
        return opened[-1]

    yield make
    for loop in opened:
        loop.close()


@pytest.fixture
def job() -> Callable[..., Job]:
    """Makes a job; its body tells ``act`` what to do."""

    def make(number: int, body: str = "", **more: Any) -> Job:
        return Job(number, body.encode(), more.pop("headers", {"task": "t"}), **more)

    return make
