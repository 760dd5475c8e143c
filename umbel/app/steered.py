"""A coroutine in which an error can be raised from outside, where it waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Generator
from typing import Any, cast

from umbel_kernel.errors import SoftTimeLimitExceeded
from umbel_kernel.spi.pool import JobCoroutine


class SoftLimitReached(SoftTimeLimitExceeded, asyncio.CancelledError):
    """A soft time limit, raised at an ``await``. It is a cancellation as well, so that what gives back a connection or
    ends its own tasks when it is cancelled does so now: ``asyncio.TaskGroup`` and most libraries know no other sign.
    """


class Steered(JobCoroutine):
    """Wraps a coroutine, for an ``asyncio.Task`` or for a coroutine that awaits it. All of it belongs to the thread of
    the loop.
    """

    __slots__ = ("_error", "_inner")

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self._inner = inner
        self._error: BaseException | None = None

    def __getattr__(self, name: str) -> Any:
        """The coroutine's own, such as its name and its frame, by which asyncio shows it."""
        return getattr(self._inner, name)

    def soften(self, task: asyncio.Task[Any], *args: Any) -> None:
        """See ``JobCoroutine.soften``: the ``await`` ends as by a cancellation."""
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
        # Whoever awaits this one sends and throws here, and not into the coroutine itself.
        return cast("Generator[Any, Any, Any]", self)

    def __iter__(self) -> Steered:
        return self

    def __next__(self) -> Any:
        return self.send(None)
