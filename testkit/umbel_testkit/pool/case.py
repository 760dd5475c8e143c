"""What the pool suites share: a pool that is open, and the loop that drives it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest

from umbel_kernel.spi.pool import Pool, PoolCapability, PoolOptions
from umbel_testkit.background import Background
from umbel_testkit.pool import jobs
from umbel_testkit.pool.driver import Driver

S = TypeVar("S", bound="PoolCase")


class PoolCase:
    """Settings and fixtures of the pool suites.

    Attributes:
        pool_class: the class to check; it is made without arguments.
        many: how many jobs are many; fewer for a pool that takes long over each.
        patience: the most seconds to wait for what must happen.
        quiet: seconds to watch that something does not happen.
    """

    pool_class: ClassVar[type[Pool]]
    many: ClassVar[int] = 1000
    patience: ClassVar[float] = 20.0
    quiet: ClassVar[float] = 0.3

    gate: Path
    notes: Path

    @pytest.fixture(autouse=True)
    def _files(self, tmp_path: Path) -> Iterator[None]:
        self.gate, self.notes = tmp_path / "gate", tmp_path / "notes"
        yield
        self.open_gate()

    def open_gate(self) -> None:
        """Let the jobs go on that wait at the gate."""
        self.gate.touch()

    def noted(self) -> list[int]:
        """The processes that wrote a note."""
        return [int(line) for line in self.notes.read_text("ascii").split()] if self.notes.exists() else []

    def run(
        self,
        loop: Callable[[Driver], None],
        *,
        size: int = 2,
        execute: Callable[..., Any] = jobs.execute,
        options: PoolOptions | None = None,
        coroutines: bool = False,
    ) -> None:
        """Open a pool, run the loop, and end the pool.

        A pool with ``MAIN_THREAD`` runs its jobs in this thread, and the loop gets another.
        """
        pool = self.pool_class()
        driver = Driver(pool, self.patience)
        options = options or PoolOptions()
        if coroutines and PoolCapability.ASYNC in pool.capabilities:
            options = replace(options, coroutine=jobs.coroutine)

        def whole() -> None:
            try:
                loop(driver)
            finally:
                self.open_gate()
                pool.terminate()

        if PoolCapability.MAIN_THREAD not in pool.capabilities:
            pool.open(size, execute, driver.wake, options)
            whole()
            return
        opened = threading.Event()

        def beside() -> None:
            try:
                pool.open(size, execute, driver.wake, options)
            finally:
                opened.set()
            whole()

        looping = Background(beside)
        assert opened.wait(self.patience), "open did not return"
        if not looping.done:
            pool.drive()
        looping.result(within=self.patience * 2)


def looped(
    *,
    size: int = 2,
    execute: Callable[..., Any] = jobs.execute,
    needs: Collection[PoolCapability] = (),
    options: Callable[[PoolCase], PoolOptions] | None = None,
    coroutines: bool = False,
) -> Callable[[Callable[[S, Driver], None]], Callable[[S], None]]:
    """Make a test of a function that plays the worker's loop on an open pool.

    Args:
        size: how many slots the pool is asked for.
        needs: capabilities without which the test is skipped.
        options: makes the pool's options out of the test case.
        coroutines: a pool with ``ASYNC`` is given coroutines where there are some.
    """

    def decorate(function: Callable[[S, Driver], None]) -> Callable[[S], None]:
        def run(self: S) -> None:
            for capability in needs:
                if capability not in self.pool_class.capabilities:
                    pytest.skip(f"{self.pool_class.__name__} does not declare {capability.name}")
            self.run(
                lambda driver: function(self, driver),
                size=size,
                execute=execute,
                options=options(self) if options is not None else None,
                coroutines=coroutines,
            )

        # Not functools.wraps: pytest would look through it and ask for a fixture named like the driver's parameter.
        run.__name__, run.__qualname__, run.__doc__ = function.__name__, function.__qualname__, function.__doc__
        run.__module__ = function.__module__
        return run

    return decorate
