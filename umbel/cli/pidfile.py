"""The file that holds a worker's process id and keeps a second worker from starting."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from umbel_kernel.errors import ConfigurationError

LATER = 5.0
"""Seconds by which a process must be younger than the file to be another than the one it names."""


@contextmanager
def pidfile(path: str) -> Iterator[None]:
    """Hold the file. One that a process left behind that is no more is taken over.

    It is locked (``flock``) as long as it is held: of two that start at once one gets it, and no number that the system
    has given to another process since looks like a worker.

    Raises:
        ConfigurationError: it names a process that lives, or cannot be written.
    """
    file = _lock(path)
    try:
        _check(path, file)
        os.ftruncate(file, 0)
        os.pwrite(file, f"{os.getpid()}\n".encode(), 0)
        owner = os.getpid()
        try:
            yield
        finally:
            if os.getpid() == owner and _is_at(path, file):
                os.unlink(path)
    finally:
        os.close(file)


def check(path: str) -> None:
    """See that the file could be held now.

    Raises:
        ConfigurationError: it could not.
    """
    there = os.path.exists(path)
    file = _lock(path)
    try:
        _check(path, file)
        if not there:
            os.unlink(path)
    finally:
        os.close(file)


def _lock(path: str) -> int:
    """The file, open and locked."""
    while True:
        try:
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise ConfigurationError(f"cannot write the pid file {path!r}: {error.strerror}") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            try:
                raise _taken(path, _read(path, file)) from None
            finally:
                os.close(file)
        # Whoever had it may have removed it before we got the lock, which then is one of a file that nobody sees.
        if _is_at(path, file):
            return file
        os.close(file)


def _is_at(path: str, file: int) -> bool:
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(there, os.fstat(file))


def _check(path: str, file: int) -> None:
    """See that a file that nobody has locked names no process that lives: not all programs lock theirs."""
    pid = _read(path, file)
    if pid and pid != os.getpid() and _lives(pid) and not _is_younger(pid, os.fstat(file).st_mtime):
        raise _taken(path, pid)


def _taken(path: str, pid: int) -> ConfigurationError:
    return ConfigurationError(
        f"the pid file {path!r} names process {pid}, which runs; stop that worker, or choose another --pidfile"
    )


def _read(path: str, file: int) -> int:
    """The process id in the file, 0 for a file without one."""
    try:
        return int(os.pread(file, 64, 0).decode("ascii").strip() or 0)
    except ValueError:
        raise ConfigurationError(f"{path!r} is no pid file; it is left as it is") from None


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _is_younger(pid: int, since: float) -> bool:
    """Whether a process began after a point in time, where the system tells (Linux)."""
    try:
        return os.stat(f"/proc/{pid}").st_ctime > since + LATER
    except OSError:
        return False
