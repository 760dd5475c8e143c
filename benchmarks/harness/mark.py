"""The worker's side of the ledger: what a benchmark task does when it runs.

Each process maps a file of its own in the ledger's folder (shared memory where there is any) and stores the time of
each execution, 8 bytes, at the next index. That is no system call, no lock and no network, so that it costs every
contender the same.
"""

from __future__ import annotations

import itertools
import mmap
import os
import threading
from time import monotonic_ns

from harness.place import LEDGER

SLOTS = 1 << 18
"""Executions a process has room for; the file is sparse, so that unused room costs nothing."""

_region: memoryview | None = None
_next = itertools.count()
_opening = threading.Lock()


def _open() -> memoryview:
    global _region, _next
    with _opening:
        if _region is None:
            handle = os.open(os.path.join(LEDGER, str(os.getpid())), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            os.ftruncate(handle, SLOTS * 8)
            _next = itertools.count()
            _region = memoryview(mmap.mmap(handle, SLOTS * 8)).cast("q")
            os.close(handle)
        return _region


def _forget() -> None:
    global _region, _opening
    _region, _opening = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)


def mark() -> None:
    """Note that a task is being executed now. Threads share a process's region: `next` on a counter is atomic."""
    (_region or _open())[next(_next)] = monotonic_ns()
