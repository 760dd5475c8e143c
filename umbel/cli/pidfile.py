"""The file that holds a worker's process id and keeps a second worker from starting."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from umbel_kernel.errors import ConfigurationError


@contextmanager
def pidfile(path: str) -> Iterator[None]:
    """Hold the file. One that a process left behind that is no more is replaced.

    Raises:
        ConfigurationError: it names a process that lives, or cannot be written.
    """
    _clear(path)
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    except OSError as error:
        raise ConfigurationError(f"cannot write the pid file {path!r}: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{os.getpid()}\n")
    owner = os.getpid()
    try:
        yield
    finally:
        if os.getpid() == owner and _read(path) == owner:
            os.unlink(path)


def _clear(path: str) -> None:
    pid = _read(path)
    if pid is None:
        return
    if pid and pid != os.getpid() and _lives(pid):
        raise ConfigurationError(
            f"the pid file {path!r} names process {pid}, which runs; stop that worker, or choose another --pidfile"
        )
    os.unlink(path)


def _read(path: str) -> int | None:
    """The process id in the file, 0 for a file without one, None for no file."""
    try:
        with open(path, encoding="ascii") as file:
            return int(file.read().strip() or 0)
    except FileNotFoundError:
        return None
    except ValueError:
        raise ConfigurationError(f"{path!r} is no pid file; it is left as it is") from None
    except OSError as error:
        raise ConfigurationError(f"cannot read the pid file {path!r}: {error.strerror}") from error


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
