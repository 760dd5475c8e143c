"""A coroutine in which an error can be raised from outside, where it waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any

from umbel_kernel.errors import SoftTimeLimitExceeded


class SoftLimitReached(SoftTimeLimitExceeded, asyncio.CancelledError):
    """A soft time limit, raised at an ``await``. It is a cancellation as well, so that what gives back a connection or
    ends its own tasks when it is cancelled does so now: ``asyncio.TaskGroup`` and most libraries know no other sign.
    """


class Steered(Coroutine[Any, Any, Any]):
    """Wraps a coroutine for an ``asyncio.Task``. All of it belongs to the thread of the loop."""

    __slots__ = ("_error", "_inner")

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self._inner = inner
        self._error: BaseException | None = None

    def __getattr__(self, name: str) -> Any:
        """The coroutine's own, such as its name and its frame, by which asyncio shows it."""
        return getattr(self._inner, name)

    def soften(self, task: asyncio.Task[Any], *args: Any) -> None:
        """Raise a soft limit in the coroutine, once, at the ``await`` where it is, which ends as by a cancellation.

        Args:
            task: what runs the coroutine. It does not count as cancelled.
            args: of the error.
        """
        if not task.done():
            self._error = SoftLimitReached(*args)
            task.cancel()
            task.uncancel()

    def send(self, value: Any) -> Any:
        error = self._error
        if error is None:
            return self._inner.send(value)
        # What was waited for has come although it was cancelled.
        self._error = None
        return self._inner.throw(error)

    def throw(self, *raised: Any) -> Any:
        error = self._error
        if error is None:
            return self._inner.throw(*raised)
        self._error = None
        return self._inner.throw(error)

    def close(self) -> None:
        self._inner.close()

    def __await__(self) -> Generator[Any, Any, Any]:
        # For a coroutine that awaits this one: nothing can be raised here then, but in what its task runs.
        return self._inner.__await__()
