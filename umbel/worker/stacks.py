"""What every thread is doing, for whoever wonders why a worker does not go on."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterable, Iterator
from types import FrameType

_ASK: int | None = getattr(signal, "SIGRTMIN", None)
"""The signal by which a worker asks the processes of its pool; none where there are no real-time signals, as on macOS.
``SIGUSR1`` is not free there."""


MOST = 100
"""Coroutines and greenlets whose stacks are told; there may be thousands."""


def text(frame: FrameType | None = None) -> str:
    """The stack of every thread of this process, and of the coroutines and greenlets that wait in it.

    Args:
        frame: where the calling thread was when a signal came.
    """
    frames = sys._current_frames()
    if frame is not None:
        frames[threading.get_ident()] = frame
    lines = [f"The stacks of process {os.getpid()}:"]
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, found in sorted(frames.items()):
        lines += ["", f"Thread {names.get(ident, ident)}:", "".join(traceback.format_stack(found)).rstrip()]
    waiting = [*_coroutines(), *_greenlets()]
    for name, stack in waiting[:MOST]:
        lines += ["", f"{name}:", "".join(traceback.format_list(stack)).rstrip()]
    if len(waiting) > MOST:
        lines += ["", f"... and {len(waiting) - MOST} more"]
    return "\n".join([*lines, ""])


def _coroutines() -> Iterator[tuple[str, traceback.StackSummary]]:
    tasks = sys.modules.get("asyncio.tasks")
    # Of every loop, and not only of the one that runs in this thread. Its name has changed in Python 3.12.
    for task in list(getattr(tasks, "_scheduled_tasks", getattr(tasks, "_all_tasks", ()))):
        frames, awaited = [], task.get_coro()
        while (frame := getattr(awaited, "cr_frame", None)) is not None:
            frames.append((frame, frame.f_lineno))
            awaited = awaited.cr_await
        if frames:
            yield f"Coroutine {task.get_name()}", traceback.StackSummary.extract(frames)


def _greenlets() -> Iterator[tuple[str, traceback.StackSummary]]:
    library = sys.modules.get("greenlet")
    if library is None:
        return
    for found in gc.get_objects():
        if isinstance(found, library.greenlet) and found.gr_frame is not None:
            frames = list(traceback.walk_stack(found.gr_frame))
            yield f"Greenlet {id(found):#x}", traceback.StackSummary.extract(reversed(frames))


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
