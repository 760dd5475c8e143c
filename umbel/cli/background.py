"""Programs that go to the background, and that start anew in their own place."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from umbel_kernel.errors import ConfigurationError

_MARK = "UMBEL_DETACHED"
"""The environment variable that holds the id of a process which is in the background already."""


def is_detached() -> bool:
    """Whether this process is in the background already, or is not to go there, as by Celery's ``C_FAKEFORK``."""
    return os.environ.get(_MARK) == str(os.getpid()) or bool(os.environ.get("C_FAKEFORK"))


def detach(logfile: str | None, executable: str | None, folder: str) -> None:
    """Start this program again in the background: in a session of its own, without a terminal.

    Returns in the process that was called, when the other has begun. That one begins from scratch, so that nothing of
    an app's threads and connections comes along.

    Args:
        logfile: where what it prints goes; it gets lost without one.
        executable: the interpreter, if it is to be another.
        folder: where it starts, which is where this one was started.

    Raises:
        ConfigurationError: the file cannot be written, or the interpreter not be run.
    """
    try:
        output = os.open(logfile or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    except OSError as error:
        raise ConfigurationError(f"cannot write the log file {logfile!r}: {error.strerror}") from error
    told, tell = os.pipe()
    first = os.fork()
    if first:
        os.close(tell)
        os.close(output)
        with os.fdopen(told) as said:
            problem = said.read()
        os.waitpid(first, 0)
        if problem:
            raise ConfigurationError(f"cannot go to the background: {problem}")
        return
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        _take_up(output)
        os.chdir(folder)
        os.environ[_MARK] = str(os.getpid())
        _run(executable or sys.executable)
    except BaseException as error:
        os.write(tell, f"{type(error).__name__}: {error}".encode())
    finally:
        os._exit(1)


def start_anew(folder: str) -> NoReturn:
    """Let this program take its own place, with the words that it was started with.

    Args:
        folder: where it was started.
    """
    os.chdir(folder)
    _run(sys.executable)


def _take_up(output: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    for place, file in ((0, null), (1, output), (2, output)):
        os.dup2(file, place)


def _run(executable: str) -> NoReturn:
    # All files but the first three are closed by that, as Python opens them so.
    os.execv(executable, [executable, *sys.orig_argv[1:]])
