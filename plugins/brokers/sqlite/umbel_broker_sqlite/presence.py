"""Whether another member of the database lives: a lock that the operating system frees at its death.

Beside the database lies a file ``<database>-members``. The member with id ``n`` holds a POSIX record lock on its byte
``n``. The kernel drops the lock when the process ends, in whichever way, so one ``fcntl`` call tells a dead member
from a living one at once. A process id with a start time would do on one host without containers; the lock also works
between containers that share the file, cannot be fooled by a process id that is used again, and, unlike ``flock``, is
not kept alive by forked children.

Two properties of POSIX locks shape this file: closing any descriptor of a file drops all of the process's locks on
it, so a process has one descriptor a file; and a process does not see its own locks, so it keeps a set of them.
"""

from __future__ import annotations

import fcntl
import os
import threading
from typing import ClassVar

SUFFIX = "-members"


class Presence:
    """This process's locks in one members file. Get it with ``of``.

    Attributes:
        identity: which file it is; a member that holds its lock in another one cannot be judged.
    """

    _known: ClassVar[dict[str, Presence]] = {}
    _guard: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, path: str, mode: int) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
        self.identity = os.fstat(self._fd).st_ino
        self._held: set[int] = set()

    @classmethod
    def of(cls, database: str) -> Presence:
        """The one for this database in this process.

        Raises:
            OSError: the file cannot be made.
        """
        path = os.path.realpath(database) + SUFFIX
        with cls._guard:
            known = cls._known.get(path)
            if known is not None and (known._held or known._is_current()):
                return known
            if known is not None:
                os.close(known._fd)
            known = cls._known[path] = cls(path, os.stat(database).st_mode & 0o666)
            return known

    def _is_current(self) -> bool:
        try:
            return os.stat(self._path).st_ino == self.identity
        except OSError:
            return False

    def hold(self, member: int) -> None:
        """Say that this member of this process lives."""
        with self._guard:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, member)
            self._held.add(member)

    def release(self, member: int) -> None:
        """Say that it does not any more; never raises."""
        with self._guard:
            self._held.discard(member)
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, member)
            except OSError:
                # The descriptor is gone, and the lock with it.
                pass

    def is_dead(self, member: int) -> bool:
        """Whether nobody holds this member's lock."""
        with self._guard:
            if member in self._held:
                return False
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, member)
            except OSError:
                return False
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, member)
            return True

    @classmethod
    def forget_parent(cls) -> None:
        """In a forked child: the locks are the parent's, so begin anew. Closing here drops none of the parent's."""
        cls._guard = threading.Lock()
        for known in cls._known.values():
            os.close(known._fd)
        cls._known = {}


os.register_at_fork(after_in_child=Presence.forget_parent)
