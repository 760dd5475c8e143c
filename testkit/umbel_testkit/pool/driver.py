"""The worker's loop, as the pool suites play it."""

from __future__ import annotations

import itertools
import select
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from umbel_kernel.spi.pool import Job, Outcome, Pool


class Driver:
    """Submits jobs to a pool and collects what happens, as a worker does: when woken, and when a check is due.

    Attributes:
        pool: the pool, open.
        started: ids in the order in which they were told to have begun.
        outcomes: how jobs ended, by id.
        wakes: how often the pool called ``wake``.
    """

    def __init__(self, pool: Pool, patience: float) -> None:
        self.pool = pool
        self.started: list[int] = []
        self.outcomes: dict[int, Outcome] = {}
        self.wakes = 0
        self._begun: set[int] = set()
        self._patience = patience
        self._woken = threading.Event()
        self._ids = itertools.count(1)

    def wake(self) -> None:
        """What the pool calls when a job has finished."""
        self.wakes += 1
        self._woken.set()

    def submit(
        self, do: str, count: int = 1, *, body: bytes = b"", limits: tuple[Any, Any] = (None, None), **context: Any
    ) -> list[int]:
        """Submit jobs that do the same; returns their ids."""
        jobs = [
            Job(next(self._ids), body, {"do": do}, context=dict(context), soft_limit=limits[0], hard_limit=limits[1])
            for _ in range(count)
        ]
        self.pool.submit(jobs)
        return [job.id for job in jobs]

    def collect(self) -> None:
        """Collect once, checking what the contract says of ``started`` and ``finished``."""
        collected = self.pool.collect()
        for job_id in collected.started:
            assert job_id not in self._begun, f"job {job_id} was told twice to have begun"
            assert job_id not in self.outcomes, f"job {job_id} was told to have begun after it had finished"
            self._begun.add(job_id)
            self.started.append(job_id)
        for outcome in collected.finished:
            assert outcome.job_id not in self.outcomes, f"job {outcome.job_id} finished twice"
            self.outcomes[outcome.job_id] = outcome

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Run the loop until a condition holds."""
        end = time.monotonic() + self._patience
        while True:
            self._woken.clear()
            self.collect()
            if condition():
                return
            if time.monotonic() > end:
                pytest.fail(
                    f"waited {self._patience} s in vain for {what}; begun: {self.started[-20:]}, "
                    f"finished: {list(self.outcomes)[-20:]}"
                )
            due = self.pool.next_check()
            self._woken.wait(min(0.02 if due is None else max(0.001, due), 0.02))

    def woken_until(self, condition: Callable[[], bool], what: str) -> None:
        """Run the loop as ``until`` does, but collect only when woken or when ``next_check`` says so."""
        end = time.monotonic() + self._patience
        while True:
            self._woken.clear()
            self.collect()
            if condition():
                return
            due = self.pool.next_check()
            left = end - time.monotonic()
            if not self._woken.wait(left if due is None else min(max(0.0, due), left)) and time.monotonic() >= end:
                pytest.fail(f"the pool neither woke the loop nor asked for a check in {self._patience} s: {what}")

    def watched_until(self, file: int, condition: Callable[[], bool], what: str) -> None:
        """Run the loop as ``woken_until`` does, but collect also when a descriptor is readable."""
        end = time.monotonic() + self._patience
        while True:
            self._woken.clear()
            self.collect()
            if condition():
                return
            due = self.pool.next_check()
            check = end if due is None else min(end, time.monotonic() + due)
            while not self._woken.is_set() and not select.select([file], (), (), 0.002)[0]:
                if time.monotonic() >= end:
                    pytest.fail(f"no descriptor was readable, nor the loop woken, in {self._patience} s: {what}")
                if time.monotonic() >= check:
                    break

    def begun(self, *job_ids: int) -> None:
        """Run the loop until these jobs were told to have begun."""
        self.until(lambda: set(job_ids) <= set(self.started), f"the jobs {list(job_ids)[:5]} to begin")

    def finished(self, job_ids: Sequence[int]) -> list[Outcome]:
        """Run the loop until these jobs have ended; returns their outcomes in this order."""
        self.until(lambda: set(job_ids) <= self.outcomes.keys(), f"{len(job_ids)} jobs to finish")
        return [self.outcomes[job_id] for job_id in job_ids]

    def values(self, job_ids: Sequence[int]) -> list[Any]:
        """Run the loop until these jobs have ended without an error; returns what they returned."""
        outcomes = self.finished(job_ids)
        errors = [outcome for outcome in outcomes if outcome.error is not None]
        assert not errors, f"{len(errors)} jobs failed, the first with {errors[0].error!r}"
        return [outcome.value for outcome in outcomes]

    def watch(self, seconds: float) -> None:
        """Run the loop for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.collect()
            time.sleep(0.01)
