"""An error with its traceback as text, by the attribute names that Celery's handlers expect."""

from __future__ import annotations

import traceback
from types import TracebackType


class ExceptionInfo:
    """What handlers and signals get as ``einfo``.

    Attributes:
        exception: the error.
        type: its class.
        traceback: its traceback as text.
        tb: its traceback object; None once the task has ended.
    """

    __slots__ = ("exception", "internal", "tb", "traceback", "type")

    def __init__(self, error: BaseException, *, internal: bool = False) -> None:
        self.exception = error
        self.type = type(error)
        self.tb: TracebackType | None = error.__traceback__
        self.internal = internal
        self.traceback = format_error(error)

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ExceptionInfo: {self.exception!r}>"


def format_error(error: BaseException) -> str:
    """The traceback as text, without the frames of the framework above the task's own."""
    trimmed = error.__traceback__
    while trimmed is not None and trimmed.tb_frame.f_globals.get("__name__", "").startswith("umbel.app."):
        if trimmed.tb_next is None:
            break
        trimmed = trimmed.tb_next
    return "".join(traceback.format_exception(type(error), error, trimmed))
