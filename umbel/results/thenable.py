"""Callbacks that are called when a result has come."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Thenable:
    """A result's list of callbacks. They run in the thread that finds the result ready, each once."""

    _callbacks: list[tuple[Callable[[Any], Any], Callable[[BaseException], Any] | None]] | None = None

    def _add_callback(
        self, callback: Callable[[Any], Any], on_error: Callable[[BaseException], Any] | None, ready: bool
    ) -> None:
        if self._callbacks is None:
            self._callbacks = []
        self._callbacks.append((callback, on_error))
        if ready:
            self._call_back()

    def _call_back(self) -> None:
        """The result is ready: call what waits, with the result; an error in a callback goes to its ``on_error``."""
        waiting, self._callbacks = self._callbacks, None
        for callback, on_error in waiting or ():
            try:
                callback(self)
            except Exception as error:
                if on_error is None:
                    raise
                on_error(error)
