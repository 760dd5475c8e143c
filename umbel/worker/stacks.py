"""What every thread is doing, for whoever wonders why a worker does not go on."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterable
from types import FrameType

_ASK: int | None = getattr(signal, "SIGRTMIN", None)
"""The signal by which a worker asks the processes of its pool; none where there are no real-time signals, as on macOS.
``SIGUSR1`` is not free there."""


def text(frame: FrameType | None = None) -> str:
    """The stack of every thread of this process.

    Args:
        frame: where the calling thread was when a signal came.
    """
    frames = sys._current_frames()
    if frame is not None:
        frames[threading.get_ident()] = frame
    lines = [f"The stacks of process {os.getpid()}:"]
    for thread in sorted(threading.enumerate(), key=lambda thread: thread.ident or 0):
        found = frames.get(thread.ident or 0)
        if found is not None:
            lines += ["", f"Thread {thread.name}:", "".join(traceback.format_stack(found)).rstrip()]
    return "\n".join([*lines, ""])


def answer() -> None:
    """Let this process print its stacks to stderr when it is asked, also in the midst of C code."""
    if _ASK is not None and sys.__stderr__ is not None:
        # Without a file descriptor there is nowhere to write to.
        with contextlib.suppress(ValueError, OSError):
            faulthandler.register(_ASK, file=sys.__stderr__, all_threads=True)


def ask(pids: Iterable[int]) -> None:
    """Ask other processes that ``answer``."""
    for pid in pids:
        if _ASK is not None and pid != os.getpid():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, _ASK)
