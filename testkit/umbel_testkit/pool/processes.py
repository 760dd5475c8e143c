"""Pools of processes: crashes and replacing children."""

from __future__ import annotations

import os
from collections import Counter

import pytest

from umbel_kernel.errors import WorkerLostError
from umbel_kernel.spi.pool import PoolCapability, PoolOptions
from umbel_testkit.pool.case import PoolCase, looped
from umbel_testkit.pool.driver import Driver
from umbel_testkit.waiting import eventually

PROCESSES, RECYCLE = PoolCapability.PROCESSES, PoolCapability.RECYCLE


class ProcessesSuite(PoolCase):
    """Pools of processes: crashes and replacing children."""

    @looped(needs=[PROCESSES])
    def test_jobs_run_in_other_processes(self, driver: Driver) -> None:
        assert os.getpid() not in driver.values(driver.submit("pid", 10))

    def _survives(self, driver: Driver, crash: str) -> None:
        for _ in range(3):
            (crashed,) = driver.submit(crash)
            assert isinstance(driver.finished([crashed])[0].error, WorkerLostError)
            assert driver.values(driver.submit("echo", 6, body=b"lives")) == [b"lives"] * 6

    @looped(needs=[PROCESSES])
    def test_a_child_that_exits_is_replaced(self, driver: Driver) -> None:
        self._survives(driver, "leave")

    @looped(needs=[PROCESSES])
    def test_a_child_that_is_killed_is_replaced(self, driver: Driver) -> None:
        self._survives(driver, "kill")

    @looped(size=2, needs=[PROCESSES])
    def test_a_crash_leaves_other_jobs(self, driver: Driver) -> None:
        (running,) = driver.submit("gate", gate=str(self.gate))
        driver.begun(running)
        (crashed,) = driver.submit("kill")
        waiting = driver.submit("echo", 40, body=b"not lost")
        assert isinstance(driver.finished([crashed])[0].error, WorkerLostError)
        assert driver.values(waiting) == [b"not lost"] * 40
        assert running not in driver.outcomes
        self.open_gate()
        driver.values([running])

    @looped(size=1, needs=[PROCESSES])
    def test_jobs_behind_a_crash_are_not_lost(self, driver: Driver) -> None:
        before = driver.submit("echo", 5, body=b"before")
        (crashed,) = driver.submit("leave")
        behind = driver.submit("echo", 20, body=b"behind")
        assert driver.values(before) == [b"before"] * 5
        assert isinstance(driver.finished([crashed])[0].error, WorkerLostError)
        assert driver.values(behind) == [b"behind"] * 20

    @looped(size=2, needs=[PROCESSES])
    def test_many_crashes(self, driver: Driver) -> None:
        crashed, fine = [], []
        for _ in range(5):
            crashed += driver.submit("leave", 2)
            fine += driver.submit("echo", 3, body=b"fine")
        assert all(isinstance(outcome.error, WorkerLostError) for outcome in driver.finished(crashed))
        assert driver.values(fine) == [b"fine"] * 15

    @looped(size=1, needs=[RECYCLE], options=lambda self: PoolOptions(max_jobs_per_child=3))
    def test_a_child_is_replaced_after_its_jobs(self, driver: Driver) -> None:
        ran = Counter(driver.values(driver.submit("pid", 10)))
        assert max(ran.values()) <= 3
        assert len(ran) >= 4

    @looped(size=1, needs=[RECYCLE], options=lambda self: PoolOptions(max_memory_per_child=1))
    def test_a_child_that_grew_is_replaced(self, driver: Driver) -> None:
        ran = [driver.values(driver.submit("swell"))[0] for _ in range(3)]
        assert len(set(ran)) == 3

    @looped(needs=[PROCESSES])
    def test_terminate_leaves_no_process(self, driver: Driver) -> None:
        pids = set(driver.values(driver.submit("pid", 20)))
        (job_id,) = driver.submit("gate", gate=str(self.gate))
        driver.begun(job_id)
        driver.pool.terminate()
        eventually(lambda: not any(map(_runs, pids)), within=self.patience, what="the children to be gone")

    def test_pools_follow_each_other(self) -> None:
        if PROCESSES not in self.pool_class.capabilities:
            pytest.skip(f"{self.pool_class.__name__} does not declare PROCESSES")

        def loop(driver: Driver) -> None:
            assert driver.values(driver.submit("echo", 5, body=b"again")) == [b"again"] * 5

        self.run(loop)
        self.run(loop)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
