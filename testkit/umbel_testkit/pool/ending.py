"""Closing and terminating."""

from __future__ import annotations

import time

from umbel_kernel.spi.pool import PoolOptions
from umbel_testkit.pool.case import PoolCase, looped
from umbel_testkit.pool.driver import Driver
from umbel_testkit.pool.running import Note
from umbel_testkit.waiting import Stopwatch, eventually


class EndingSuite(PoolCase):
    """Closing and terminating."""

    @looped(size=2)
    def test_close_lets_all_jobs_end(self, driver: Driver) -> None:
        gated = driver.submit("gate", 4, gate=str(self.gate))
        behind = driver.submit("echo", 20, body=b"still run")
        driver.begun(gated[0])
        with Stopwatch() as watch:
            driver.pool.close()
            driver.pool.close()
        assert watch.seconds < 2.0, "close waited"
        driver.watch(0.05)
        self.open_gate()
        driver.values(gated)
        assert driver.values(behind) == [b"still run"] * 20

    @looped()
    def test_close_then_terminate(self, driver: Driver) -> None:
        ids = driver.submit("echo", 10)
        driver.pool.close()
        driver.values(ids)
        driver.pool.terminate()
        driver.pool.terminate()

    @looped()
    def test_close_of_an_idle_pool(self, driver: Driver) -> None:
        driver.pool.close()
        driver.collect()
        assert not driver.outcomes

    @looped()
    def test_terminate_keeps_its_timeout(self, driver: Driver) -> None:
        ids = driver.submit("gate", 6, gate=str(self.gate))
        driver.begun(ids[0])
        with Stopwatch() as watch:
            driver.pool.terminate(timeout=1.0)
        assert watch.seconds < 1.0 + 3.0
        with Stopwatch() as watch:
            driver.pool.terminate(timeout=1.0)
            driver.pool.close()
        assert watch.seconds < 1.0 + 3.0

    @looped()
    def test_what_waits_at_terminate_never_runs(self, driver: Driver) -> None:
        size = driver.pool.size
        running = driver.submit("gate", size, gate=str(self.gate))
        driver.submit("mark", 3, path=str(self.notes))
        driver.begun(*running)
        driver.pool.terminate(timeout=0.5)
        self.open_gate()
        time.sleep(self.quiet)
        assert not self.noted(), "a job began after terminate"

    def test_terminate_without_open_is_harmless(self) -> None:
        self.pool_class().terminate()

    def test_finalize_comes_at_an_orderly_end(self) -> None:
        def loop(driver: Driver) -> None:
            ids = driver.submit("pid", 10)
            driver.pool.close()
            ran.update(driver.values(ids))
            driver.pool.terminate()
            eventually(lambda: ran <= set(self.noted()), within=self.patience, what="finalize where the jobs ran")

        ran: set[int] = set()
        self.run(loop, options=PoolOptions(finalize=Note(str(self.notes))))
        assert all(self.noted().count(pid) >= 1 for pid in ran)
