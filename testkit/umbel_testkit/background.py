"""A function on a thread of its own."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

import pytest

T = TypeVar("T")


class Background(Generic[T]):
    """Runs a function on a daemon thread from now on; ``result`` brings what it returned or raised."""

    def __init__(self, function: Callable[[], T]) -> None:
        self._future: concurrent.futures.Future[T] = concurrent.futures.Future()
        self._function = function
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self._future.set_result(self._function())
        except BaseException as error:
            self._future.set_exception(error)

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._future.done()

    def result(self, *, within: float) -> T:
        """What the function returned; raises what it raised; fails the test when it takes longer than the seconds."""
        concurrent.futures.wait([self._future], timeout=within)
        if not self._future.done():
            pytest.fail(f"a thread of the test was still busy after {within} s")
        return self._future.result()


def together(functions: Sequence[Callable[[], T]], *, within: float) -> list[T]:
    """Run functions at the same moment, each on its own thread, and return what they returned, in order."""
    gate = threading.Barrier(len(functions))

    def held(function: Callable[[], T]) -> Callable[[], T]:
        def run() -> T:
            gate.wait(within)
            return function()

        return run

    return [started.result(within=within) for started in [Background(held(function)) for function in functions]]
