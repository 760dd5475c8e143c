"""Dying with one's parent, and naming a death."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


def die_with_parent(parent: int) -> None:
    """Let the system kill this process as soon as its parent is gone, even in the midst of a job.

    Only Linux can (``prctl(2)``, ``PR_SET_PDEATHSIG``). Elsewhere a child notices between two jobs, when its
    socket ends.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def exit_text(code: int | None) -> str:
    """An exit code in words, as in ``killed by SIGKILL`` or ``exit code 3``."""
    if code is None:
        return "an unknown exit code"
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"


def signal_number(name: str) -> int:
    """The number of a signal given as ``TERM``, ``SIGTERM`` or ``15``.

    Raises:
        ValueError: there is no such signal.
    """
    text = name.strip().upper()
    if text.isdigit():
        return signal.Signals(int(text)).value
    try:
        return signal.Signals["SIG" + text.removeprefix("SIG")].value
    except KeyError as error:
        raise ValueError(f"there is no signal {name!r}") from error
