"""The tasks of every scenario, for an app of either contender."""

from __future__ import annotations

import time
from typing import Any

from faults import record


def define(app: Any) -> None:
    """Give an app its tasks."""

    @app.task(bind=True, name="faults.note", ignore_result=True)
    def note(self: Any, seconds: float = 0.0) -> None:
        """Write down that it begins and that it ends, so many seconds later."""
        record.write("B", self.request.id)
        if seconds:
            time.sleep(seconds)
        record.write("E", self.request.id)

    @app.task(bind=True, name="faults.keep")
    def keep(self: Any, seconds: float = 0.0) -> str:
        """As `note`, with a result: the worker's name and its process."""
        record.write("B", self.request.id)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(min(0.1, max(0.0, end - time.monotonic())))
        record.write("E", self.request.id)
        return record.who()

    @app.task(name="faults.answer")
    def answer(value: Any = None) -> Any:
        return value
