"""Waiting for a condition, and measuring how long something took."""

from __future__ import annotations

import time
from collections.abc import Callable
from types import TracebackType

import pytest


def eventually(condition: Callable[[], bool], *, within: float, what: str) -> None:
    """Wait until a condition holds; fail the test, saying what was awaited, when it does not within the seconds."""
    end = time.monotonic() + within
    pause = 0.002
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"waited {within} s in vain for {what}")
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


class Stopwatch:
    """Measures a ``with`` block.

    Attributes:
        seconds: how long the block took, once it has ended.
    """

    seconds: float

    def __enter__(self) -> Stopwatch:
        self._began = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.seconds = time.monotonic() - self._began
