"""Coroutines side by side in an event loop."""

from __future__ import annotations

import time

from umbel_kernel.errors import PoolError, Terminated, TimeLimitExceeded
from umbel_kernel.spi.pool import PoolCapability
from umbel_testkit.pool.case import PoolCase, looped
from umbel_testkit.pool.driver import Driver
from umbel_testkit.waiting import Stopwatch

ASYNC = PoolCapability.ASYNC


class CoroutinesSuite(PoolCase):
    """Coroutines side by side in an event loop."""

    @looped(size=50, needs=[ASYNC], coroutines=True)
    def test_coroutines_run_side_by_side(self, driver: Driver) -> None:
        began = time.monotonic()
        ids = driver.submit("nap", 50, seconds=0.3)
        assert driver.values(ids) == ["rested"] * 50
        assert time.monotonic() - began < 0.3 * 50 / 4

    @looped(size=3, needs=[ASYNC], coroutines=True)
    def test_as_many_coroutines_run_as_there_are_slots(self, driver: Driver) -> None:
        ids = driver.submit("gate", 6, gate=str(self.gate))
        driver.begun(*ids[:3])
        driver.watch(self.quiet)
        assert sorted(driver.started) == ids[:3]
        assert not driver.outcomes
        assert driver.pool.withdraw(ids) == ids[3:]
        self.open_gate()
        driver.values(ids[:3])

    @looped(needs=[ASYNC], coroutines=True)
    def test_many_coroutines(self, driver: Driver) -> None:
        ids = driver.submit("echo", self.many, body=b"one of many")
        assert driver.values(ids) == [b"one of many"] * self.many
        driver.watch(0.05)
        assert len(driver.outcomes) == len(driver.started) == self.many

    @looped(size=4, needs=[ASYNC], coroutines=True)
    def test_what_is_no_coroutine_does_not_hold_up_the_loop(self, driver: Driver) -> None:
        (blocking,) = driver.submit("wait", gate=str(self.gate))
        driver.begun(blocking)
        assert driver.values(driver.submit("nap", 2, seconds=0.01)) == ["rested"] * 2
        assert blocking not in driver.outcomes
        self.open_gate()
        driver.values([blocking])

    @looped(size=2, needs=[ASYNC], coroutines=True)
    def test_an_error_of_a_coroutine_is_an_outcome(self, driver: Driver) -> None:
        (failing,) = driver.submit("fail")
        assert isinstance(driver.finished([failing])[0].error, PoolError)
        assert driver.values(driver.submit("echo", 5, body=b"lives")) == [b"lives"] * 5

    @looped(size=2, needs=[ASYNC], coroutines=True)
    def test_an_exit_beside_a_coroutine_leaves_the_loop(self, driver: Driver) -> None:
        (left,) = driver.submit("exit")
        assert driver.values([left]) == ["stayed"]
        assert driver.values(driver.submit("echo", 5, body=b"lives")) == [b"lives"] * 5

    @looped(size=1, needs=[ASYNC, PoolCapability.TERMINATE], coroutines=True)
    def test_who_swallows_a_cancellation_gives_up_the_slot(self, driver: Driver) -> None:
        (cancelled,) = driver.submit("swallow", gate=str(self.gate))
        driver.begun(cancelled)
        assert driver.pool.cancel(cancelled) is True
        assert isinstance(driver.finished([cancelled])[0].error, Terminated)
        assert driver.values(driver.submit("echo", body=b"lives")) == [b"lives"]
        with Stopwatch() as watch:
            driver.pool.terminate(timeout=1.0)
        assert watch.seconds < 1.0 + 3.0

    @looped(size=1, needs=[ASYNC, PoolCapability.HARD_TIME_LIMIT], coroutines=True)
    def test_who_swallows_a_hard_limit_gives_up_the_slot(self, driver: Driver) -> None:
        (over,) = driver.submit("swallow", gate=str(self.gate), limits=(None, 0.2))
        driver.woken_until(lambda: over in driver.outcomes, "a job over its hard limit to end")
        assert isinstance(driver.outcomes[over].error, TimeLimitExceeded)
        assert driver.values(driver.submit("echo", body=b"lives")) == [b"lives"]
