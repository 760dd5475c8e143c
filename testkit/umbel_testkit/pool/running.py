"""Jobs run and their outcomes come back."""

from __future__ import annotations

import functools
import operator
import select

from umbel_kernel.errors import PoolError
from umbel_kernel.setting import Setting
from umbel_kernel.spi.pool import Job, PoolCapability, PoolOptions
from umbel_testkit.pool import jobs
from umbel_testkit.pool.case import PoolCase, looped
from umbel_testkit.pool.driver import Driver
from umbel_testkit.waiting import Stopwatch


class RunningSuite(PoolCase):
    """Jobs run and their outcomes come back."""

    def test_capabilities_are_capabilities(self) -> None:
        capabilities = self.pool_class.capabilities
        assert isinstance(capabilities, frozenset)
        assert all(isinstance(capability, PoolCapability) for capability in capabilities)

    def test_settings_are_described(self) -> None:
        settings = self.pool_class.settings
        assert all(isinstance(setting, Setting) for setting in settings)
        assert all(setting.name.isidentifier() and setting.help.strip() for setting in settings)
        assert len({setting.name for setting in settings}) == len(settings)

    @looped()
    def test_a_job_runs(self, driver: Driver) -> None:
        (job_id,) = driver.submit("echo", body=b"body")
        outcome = driver.finished([job_id])[0]
        assert (outcome.job_id, outcome.value, outcome.error) == (job_id, b"body", None)

    @looped()
    def test_all_of_a_job_arrives(self, driver: Driver) -> None:
        headers = {"do": "describe", "nested": {"list": [1, None, True, 2**70, "žluť", b"\x00\xff", 0.5]}}
        context = {"worker": "w@here", "n": [1, {"a": None}]}
        job = Job(77, b"\x00\xff" * 100, headers, "application/x-test", "binary", context)
        driver.pool.submit([job])
        assert driver.values([77]) == [[77, b"\x00\xff" * 100, headers, "application/x-test", "binary", context]]

    @looped()
    def test_the_pool_wakes_the_loop(self, driver: Driver) -> None:
        for _ in range(3):
            before = driver.wakes
            (job_id,) = driver.submit("nap", seconds=0.05)
            driver.woken_until(functools.partial(operator.contains, driver.outcomes, job_id), "a job to finish")
            assert driver.wakes > before

    @looped()
    def test_a_descriptor_that_is_watched_stands_in_for_a_wake(self, driver: Driver) -> None:
        files: list[int] = []

        def watch(file: int) -> bool:
            files.append(file)
            return True

        driver.values(driver.submit("echo", 3))
        if not driver.pool.watched(watch):
            assert not files, "a pool that has a descriptor watched goes by it"
            return
        driver.values(driver.submit("echo"))
        for _ in range(3):
            (job_id,) = driver.submit("nap", seconds=0.05)
            driver.watched_until(files[0], functools.partial(operator.contains, driver.outcomes, job_id), "a job's end")
            many = driver.submit("echo", 50)
            driver.watched_until(files[0], functools.partial(_ended, driver, many), "the ends of many")
            assert not select.select(files, (), (), 0)[0], "with nothing to bring it is readable, and the loop spins"
        assert not driver.pool.watched(lambda file: False)
        before = driver.wakes
        (job_id,) = driver.submit("nap", seconds=0.05)
        driver.woken_until(functools.partial(operator.contains, driver.outcomes, job_id), "a job to finish")
        assert driver.wakes > before

    @looped()
    def test_beginning_is_told_once_and_in_time(self, driver: Driver) -> None:
        (job_id,) = driver.submit("gate", gate=str(self.gate))
        driver.begun(job_id)
        assert job_id not in driver.outcomes
        self.open_gate()
        driver.finished([job_id])
        quick = driver.submit("echo", 50)
        driver.finished(quick)
        driver.watch(0.05)
        assert sorted(driver.started) == sorted([job_id, *quick])

    @looped()
    def test_many_jobs(self, driver: Driver) -> None:
        ids = driver.submit("echo", self.many, body=b"one of many")
        assert driver.values(ids) == [b"one of many"] * self.many
        driver.watch(0.05)
        assert len(driver.outcomes) == len(driver.started) == self.many

    @looped()
    def test_many_small_batches(self, driver: Driver) -> None:
        for turn in range(40):
            body = str(turn).encode()
            assert driver.values(driver.submit("echo", 3, body=body)) == [body] * 3

    @looped()
    def test_big_bodies(self, driver: Driver) -> None:
        body = bytes(range(256)) * 4096
        ids = driver.submit("echo", 8, body=body)
        assert all(value == body for value in driver.values(ids)), "a body of one megabyte came back changed"

    @looped()
    def test_submit_never_blocks(self, driver: Driver) -> None:
        with Stopwatch() as watch:
            ids = driver.submit("gate", 50, body=b"x" * 200_000, gate=str(self.gate))
        assert watch.seconds < 2.0, "submit blocked while every slot was busy"
        self.open_gate()
        driver.values(ids)

    @looped()
    def test_collect_never_blocks(self, driver: Driver) -> None:
        with Stopwatch() as watch:
            idle = driver.pool.collect()
        assert (idle.started, idle.finished) == ([], [])
        assert watch.seconds < 0.5
        driver.submit("gate", gate=str(self.gate))
        driver.begun(1)
        with Stopwatch() as watch:
            driver.collect()
        assert watch.seconds < 0.5

    @looped()
    def test_submitting_nothing_is_harmless(self, driver: Driver) -> None:
        driver.pool.submit([])
        driver.pool.withdraw([])
        assert driver.values(driver.submit("echo", body=b"x")) == [b"x"]

    @looped()
    def test_next_check_is_a_time_or_none(self, driver: Driver) -> None:
        for _ in range(2):
            due = driver.pool.next_check()
            assert due is None or due >= 0
            driver.submit("nap", seconds=0.1, limits=(5.0, 10.0))
            driver.collect()

    @looped()
    def test_an_error_in_execute_is_an_outcome(self, driver: Driver) -> None:
        (failing,) = driver.submit("fail")
        outcome = driver.finished([failing])[0]
        assert isinstance(outcome.error, PoolError)
        assert driver.values(driver.submit("echo", 5, body=b"lives")) == [b"lives"] * 5

    @looped()
    def test_info(self, driver: Driver) -> None:
        info = driver.pool.info()
        assert info["max-concurrency"] == driver.pool.size

    @looped(options=lambda self: PoolOptions(initialize=Note(str(self.notes))))
    def test_initialize_comes_before_the_first_job(self, driver: Driver) -> None:
        pids = set(driver.values(driver.submit("pid", 30)))
        assert pids <= set(self.noted()), "a process ran a job without initialize"
        if PoolCapability.PROCESSES in driver.pool.capabilities:
            assert all(self.noted().count(pid) == 1 for pid in pids), "initialize was called twice in one process"


class Note:
    """``jobs.note`` with its argument, as something that can be pickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __call__(self) -> None:
        jobs.note(self.path)


def _ended(driver: Driver, job_ids: list[int]) -> bool:
    return set(job_ids) <= driver.outcomes.keys()
