"""How many jobs run at once, which, and taking them back."""

from __future__ import annotations

import pytest

from umbel_kernel.errors import NotSupported
from umbel_kernel.spi.pool import PoolCapability
from umbel_testkit.pool.case import PoolCase, looped
from umbel_testkit.pool.driver import Driver


class SlotsSuite(PoolCase):
    """How many jobs run at once, which, and taking them back."""

    @looped(size=3)
    def test_size_is_told(self, driver: Driver) -> None:
        if PoolCapability.MAIN_THREAD in driver.pool.capabilities:
            assert driver.pool.size == 1
        else:
            assert driver.pool.size == 3

    @looped(size=3)
    def test_as_many_run_as_there_are_slots(self, driver: Driver) -> None:
        size = driver.pool.size
        ids = driver.submit("gate", size + 3, gate=str(self.gate))
        driver.begun(*ids[:size])
        driver.watch(self.quiet)
        assert driver.started == ids[:size] or sorted(driver.started) == ids[:size]
        assert not driver.outcomes
        self.open_gate()
        driver.values(ids)

    @looped(size=1)
    def test_one_slot_keeps_the_order(self, driver: Driver) -> None:
        ids = driver.submit("echo", 20) + driver.submit("echo", 20)
        driver.values(ids)
        assert driver.started == ids
        assert list(driver.outcomes) == ids

    @looped(size=2)
    def test_a_long_job_does_not_hold_up_others(self, driver: Driver) -> None:
        if driver.pool.size < 2:
            pytest.skip(f"{type(driver.pool).__name__} runs one job at a time")
        (long,) = driver.submit("gate", gate=str(self.gate))
        driver.begun(long)
        assert driver.values(driver.submit("echo", 30, body=b"past it")) == [b"past it"] * 30
        assert long not in driver.outcomes

    @looped(size=2)
    def test_withdraw_takes_back_what_has_not_begun(self, driver: Driver) -> None:
        size = driver.pool.size
        ids = driver.submit("gate", size + 10, gate=str(self.gate))
        driver.begun(*ids[:size])
        asked = ids[size:]
        withdrawn = driver.pool.withdraw([*asked, ids[0], 987654])
        assert set(withdrawn) <= set(asked), "a running or unknown job was said to be withdrawn"
        assert len(set(withdrawn)) == len(withdrawn)
        assert ids[-1] in withdrawn, "the last of the queue had not begun and was not withdrawn"
        self.open_gate()
        driver.values([job_id for job_id in ids if job_id not in withdrawn])
        driver.values(driver.submit("echo"))
        driver.watch(0.1)
        assert not set(withdrawn) & {*driver.started, *driver.outcomes}, "a withdrawn job ran"

    @looped()
    def test_withdraw_passes_over_what_has_finished(self, driver: Driver) -> None:
        ids = driver.submit("echo", 3)
        driver.values(ids)
        assert driver.pool.withdraw(ids) == []

    @looped(size=1, needs=[PoolCapability.RESIZE])
    def test_grow(self, driver: Driver) -> None:
        ids = driver.submit("gate", 4, gate=str(self.gate))
        driver.begun(ids[0])
        driver.pool.grow(2)
        assert driver.pool.size == 3
        driver.begun(*ids[:3])
        driver.watch(self.quiet)
        assert ids[3] not in driver.started
        self.open_gate()
        driver.values(ids)

    @looped(size=3, needs=[PoolCapability.RESIZE])
    def test_shrink_leaves_running_jobs(self, driver: Driver) -> None:
        ids = driver.submit("gate", 3, gate=str(self.gate))
        driver.begun(*ids)
        driver.pool.shrink(2)
        assert driver.pool.size == 1
        driver.watch(0.1)
        self.open_gate()
        driver.values(ids)
        self.gate.unlink()
        more = driver.submit("gate", 3, gate=str(self.gate))
        driver.begun(more[0])
        driver.watch(self.quiet)
        assert more[1] not in driver.started, "more jobs run than there are slots left"
        self.open_gate()
        driver.values(more)

    @looped()
    def test_resize_is_refused_when_not_claimed(self, driver: Driver) -> None:
        if PoolCapability.RESIZE in driver.pool.capabilities:
            pytest.skip(f"{type(driver.pool).__name__} declares RESIZE")
        with pytest.raises(NotSupported):
            driver.pool.grow()
        with pytest.raises(NotSupported):
            driver.pool.shrink()
