"""Time limits and cancelling."""

from __future__ import annotations

import functools
import time

import pytest

from umbel_kernel.errors import NotSupported, Terminated, TimeLimitExceeded
from umbel_kernel.spi.pool import PoolCapability
from umbel_testkit.pool.case import PoolCase, looped
from umbel_testkit.pool.driver import Driver

limited = functools.partial(looped, coroutines=True)


class LimitsSuite(PoolCase):
    """Time limits and cancelling; a pool with ``ASYNC`` promises them for coroutines.

    The loop collects only when it is woken or when ``next_check`` says so.
    """

    @limited(needs=[PoolCapability.SOFT_TIME_LIMIT])
    def test_a_soft_limit_is_raised_inside(self, driver: Driver) -> None:
        began = time.monotonic()
        (job_id,) = driver.submit("catch", gate=str(self.gate), limits=(0.5, None))
        driver.woken_until(lambda: job_id in driver.outcomes, "a job over its soft limit to end")
        assert 0.4 <= time.monotonic() - began < 5.0
        outcome = driver.outcomes[job_id]
        assert outcome.error is None
        assert outcome.value[0] == "soft"
        assert driver.values(driver.submit("echo", 4, body=b"lives")) == [b"lives"] * 4

    @limited(size=1, needs=[PoolCapability.SOFT_TIME_LIMIT])
    def test_a_soft_limit_does_not_reach_the_next_job(self, driver: Driver) -> None:
        first = driver.submit("nap", seconds=0.05, limits=(0.4, None))
        second = driver.submit("catch", gate=str(self.gate))
        driver.begun(*second)
        driver.watch(0.6)
        self.open_gate()
        assert driver.values([*first, *second]) == ["rested", "in time"]

    @limited(needs=[PoolCapability.HARD_TIME_LIMIT])
    def test_a_hard_limit_kills(self, driver: Driver) -> None:
        began = time.monotonic()
        (job_id,) = driver.submit("gate", gate=str(self.gate), limits=(None, 0.5))
        driver.woken_until(lambda: job_id in driver.outcomes, "a job over its hard limit to end")
        assert 0.4 <= time.monotonic() - began < 5.0
        error = driver.outcomes[job_id].error
        assert isinstance(error, TimeLimitExceeded)
        assert error.args[0] == 0.5
        assert driver.values(driver.submit("echo", 6, body=b"lives")) == [b"lives"] * 6

    @limited(needs=[PoolCapability.SOFT_TIME_LIMIT, PoolCapability.HARD_TIME_LIMIT])
    def test_a_hard_limit_comes_after_a_soft_one(self, driver: Driver) -> None:
        (job_id,) = driver.submit("ignore", gate=str(self.gate), limits=(0.2, 0.6))
        driver.woken_until(lambda: job_id in driver.outcomes, "a job over its hard limit to end")
        assert isinstance(driver.outcomes[job_id].error, TimeLimitExceeded)

    @limited(size=1, needs=[PoolCapability.HARD_TIME_LIMIT])
    def test_a_limit_counts_running_time_only(self, driver: Driver) -> None:
        first = driver.submit("nap", seconds=0.6)
        second = driver.submit("nap", seconds=0.1, limits=(None, 0.5))
        assert driver.values([*first, *second]) == ["rested", "rested"]

    @limited(size=2, needs=[PoolCapability.HARD_TIME_LIMIT])
    def test_a_hard_limit_leaves_other_jobs(self, driver: Driver) -> None:
        (other,) = driver.submit("gate", gate=str(self.gate))
        driver.begun(other)
        (killed,) = driver.submit("gate", gate=str(self.gate), limits=(None, 0.3))
        driver.finished([killed])
        assert isinstance(driver.outcomes[killed].error, TimeLimitExceeded)
        assert other not in driver.outcomes
        self.open_gate()
        driver.values([other])

    @limited(size=2, needs=[PoolCapability.TERMINATE])
    def test_cancel_ends_a_running_job(self, driver: Driver) -> None:
        cancelled, other = driver.submit("gate", 2, gate=str(self.gate))
        driver.begun(cancelled, other)
        assert driver.pool.cancel(cancelled) is True
        assert isinstance(driver.finished([cancelled])[0].error, Terminated)
        assert other not in driver.outcomes
        self.open_gate()
        driver.values([other, *driver.submit("echo", 4)])

    @limited(size=1, needs=[PoolCapability.TERMINATE])
    def test_cancel_with_kill(self, driver: Driver) -> None:
        (job_id,) = driver.submit("gate", gate=str(self.gate))
        driver.begun(job_id)
        assert driver.pool.cancel(job_id, "KILL") is True
        assert isinstance(driver.finished([job_id])[0].error, Terminated)
        assert driver.values(driver.submit("echo", body=b"lives")) == [b"lives"]

    @limited(needs=[PoolCapability.TERMINATE])
    def test_cancel_passes_over_what_does_not_run(self, driver: Driver) -> None:
        (job_id,) = driver.submit("echo")
        driver.finished([job_id])
        assert driver.pool.cancel(job_id) is False
        assert driver.pool.cancel(987654) is False

    @limited()
    def test_cancel_is_refused_when_not_claimed(self, driver: Driver) -> None:
        if PoolCapability.TERMINATE in driver.pool.capabilities:
            pytest.skip(f"{type(driver.pool).__name__} declares TERMINATE")
        (job_id,) = driver.submit("gate", gate=str(self.gate))
        driver.begun(job_id)
        with pytest.raises(NotSupported):
            driver.pool.cancel(job_id)
