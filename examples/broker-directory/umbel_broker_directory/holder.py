"""A lock file that its owner's death unlocks, by which other processes know that a consumer is gone."""

from __future__ import annotations

import fcntl
import os
import uuid
import weakref
from pathlib import Path

_ours: weakref.WeakSet[Holder] = weakref.WeakSet()


class Holder:
    """The proof that a consumer lives.

    Attributes:
        name: unique; what it holds lies in folders of this name.
    """

    def __init__(self, folder: Path) -> None:
        self.name = uuid.uuid4().hex
        self._path = folder / self.name
        self._file = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        _ours.add(self)

    def release(self) -> None:
        """Be gone in good order; nothing is held any more."""
        self._path.unlink(missing_ok=True)
        self.let_go()

    def let_go(self) -> None:
        """Close this process's hand on the lock."""
        _ours.discard(self)
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)


def is_dead(folder: Path, name: str) -> bool:
    """Whether the holder of this name is gone without having said so."""
    try:
        file = os.open(folder / name, os.O_RDWR)
    except FileNotFoundError:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(file)
    return True


def _after_fork() -> None:
    # A child shares its parent's locks and would keep them when the parent is killed.
    for holder in list(_ours):
        holder.let_go()


os.register_at_fork(after_in_child=_after_fork)
