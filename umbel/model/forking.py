"""Locks that another thread may hold while this one forks: the child has no such thread and would wait for ever."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import weakref
from collections.abc import Callable
from typing import Any

from umbel_kernel import plugins

_numbers = itertools.count()
_locks: dict[int, tuple[weakref.ref[Any], str, Callable[[], Any]]] = {}


def renewed_in_child(owner: Any, name: str, make: Callable[[], Any]) -> Any:
    """Make a lock, to be kept as this attribute of its owner, which gets a new one in each child process.

    What the lock guards has to be of use although another thread was just about to change it.
    """
    number = next(_numbers)
    _locks[number] = weakref.ref(owner, lambda _: _locks.pop(number, None)), name, make
    return make()


def _renew() -> None:
    for find, name, make in list(_locks.values()):
        owner = find()
        if owner is not None:
            setattr(owner, name, make())


os.register_at_fork(after_in_child=_renew)

_LONGEST = 5.0

importing = threading.RLock()
"""Held while a plugin is imported at its first use, and while a process forks: Python's own lock on a module that one
thread is importing would never be released in the child."""


def load(kind: str, name: str) -> Any:
    """A plugin's class, as by ``plugins.load``; no fork comes between its import and its use."""
    with importing:
        return plugins.load(kind, name)


_held = threading.local()


def _wait() -> None:
    _held.now = importing.acquire(timeout=_LONGEST)


def _go_on() -> None:
    if _held.now:
        importing.release()


# What is registered last is called first. An import may wait for logging's lock, so a fork has to take that one later:
# logging has to be there before.
assert logging.root
os.register_at_fork(before=_wait, after_in_parent=_go_on, after_in_child=_go_on)
