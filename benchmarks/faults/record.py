"""What a task writes down: a line at its begin and one at its end, by the process that runs it.

A line is `B` or `E`, the task's id, the pid, the worker's name and CLOCK_MONOTONIC in nanoseconds, which all processes
of a machine share. One `write` on a file opened to append is whole or not there, whoever is killed.
"""

from __future__ import annotations

import os
import threading
from time import monotonic_ns

_JOURNAL = os.environ.get("FAULTS_JOURNAL", "")
_WORKER = os.environ.get("FAULTS_WORKER", "-") or "-"
_opening = threading.Lock()
_descriptor = -1


def write(kind: str, task_id: str) -> None:
    """Note a begin (`B`) or an end (`E`) of a run."""
    global _descriptor
    if _descriptor < 0:
        with _opening:
            if _descriptor < 0:
                _descriptor = os.open(_JOURNAL, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(_descriptor, f"{kind} {task_id} {os.getpid()} {_WORKER} {monotonic_ns()}\n".encode())


def who() -> str:
    """The worker and the process that run this."""
    return f"{_WORKER}:{os.getpid()}"
