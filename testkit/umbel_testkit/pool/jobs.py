"""What the suites' jobs do where they run. All of it can be imported by a process that was spawned."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from umbel_kernel.errors import SoftTimeLimitExceeded
from umbel_kernel.spi.pool import Job, JobCoroutine

PAUSE = 0.005
_kept: list[bytearray] = []


def echo(job: Job) -> Any:
    """Give the body back."""
    return job.body


def describe(job: Job) -> Any:
    """Give back all that came."""
    return [job.id, job.body, job.headers, job.content_type, job.content_encoding, job.context]


def pid(job: Job) -> Any:
    """The process that ran it."""
    return os.getpid()


def nap(job: Job) -> Any:
    """Sleep for the seconds in ``context``."""
    time.sleep(job.context["seconds"])
    return "rested"


def gate(job: Job) -> Any:
    """Wait in short naps until the file in ``context`` is there; returns the process that ran it."""
    while not Path(job.context["gate"]).exists():
        time.sleep(PAUSE)
    return os.getpid()


def wait(job: Job) -> Any:
    """As ``gate``, of which there is no coroutine."""
    return gate(job)


def catch(job: Job) -> Any:
    """Wait as ``gate`` does; tell of a soft time limit and end in good order."""
    try:
        gate(job)
    except SoftTimeLimitExceeded as error:
        return ["soft", list(error.args)]
    return "in time"


def ignore(job: Job) -> Any:
    """Wait as ``gate`` does whatever soft limit is raised."""
    while True:
        try:
            return gate(job)
        except SoftTimeLimitExceeded:
            continue


def leave(job: Job) -> Any:
    """End the process from inside."""
    os._exit(3)


def kill(job: Job) -> Any:
    """End the process as the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)
    threading.Event().wait(60)


def fail(job: Job) -> Any:
    """Raise, which the framework's ``execute`` never does."""
    raise ValueError("execute raised")


def swell(job: Job) -> Any:
    """Hold on to another eight megabytes; returns the process that ran it."""
    _kept.append(bytearray(os.urandom(1024)) * 8192)
    return os.getpid()


def mark(job: Job) -> Any:
    """Leave a note that it ran in the file in ``context``."""
    note(job.context["path"])


ACTIONS: dict[str, Callable[[Job], Any]] = {
    action.__name__: action
    for action in (echo, describe, pid, nap, gate, wait, catch, ignore, leave, kill, fail, swell, mark)
}


def execute(job: Job) -> Any:
    """What the suites give to ``open``: does what the header ``do`` says."""
    return ACTIONS[job.headers["do"]](job)


async def nap_async(job: Job) -> Any:
    """As ``nap``, without holding up others."""
    await asyncio.sleep(job.context["seconds"])
    return "rested"


async def gate_async(job: Job) -> Any:
    """As ``gate``."""
    while not Path(job.context["gate"]).exists():
        await asyncio.sleep(PAUSE)
    return os.getpid()


async def catch_async(job: Job) -> Any:
    """As ``catch``."""
    try:
        await gate_async(job)
    except SoftTimeLimitExceeded as error:
        return ["soft", list(error.args)]
    return "in time"


async def ignore_async(job: Job) -> Any:
    """As ``ignore``."""
    while True:
        try:
            return await gate_async(job)
        except SoftTimeLimitExceeded:
            continue


async def swallow_async(job: Job) -> Any:
    """Wait as ``gate`` does, however often it is cancelled."""
    while True:
        try:
            return await gate_async(job)
        except (SoftTimeLimitExceeded, asyncio.CancelledError):
            continue


async def fail_async(job: Job) -> Any:
    """Raise, which the framework's coroutines never do."""
    raise ValueError("a coroutine raised")


async def exit_async(job: Job) -> Any:
    """Ask the process to end, in a task of its own that nobody waits for."""

    async def leave() -> None:
        raise SystemExit(3)

    job.context["left"] = asyncio.ensure_future(leave())
    await asyncio.sleep(PAUSE)
    return "stayed"


async def echo_async(job: Job) -> Any:
    """As ``echo``, without waiting for anything."""
    return job.body


COROUTINES: dict[str, Callable[[Job], Coroutine[Any, Any, Any]]] = {
    action.__name__.removesuffix("_async"): action
    for action in (
        nap_async, gate_async, catch_async, ignore_async, swallow_async, fail_async, exit_async, echo_async
    )
}  # fmt: skip


class Softened(JobCoroutine):
    """A coroutine whose ``await`` ends with the error of a soft limit, once it is told that this is up."""

    def __init__(self, inner: Coroutine[Any, Any, Any]) -> None:
        self._inner = inner
        self._error: Exception | None = None

    def soften(self, task: Any, *args: Any) -> None:
        """See ``JobCoroutine.soften``."""
        self._error = SoftTimeLimitExceeded(*args)
        task.cancel()
        task.uncancel()

    def throw(self, *raised: Any) -> Any:
        """Raise something at the ``await``; a soft limit in place of the cancellation that brings it."""
        error, self._error = self._error, None
        return self._inner.throw(*raised) if error is None else self._inner.throw(error)

    def send(self, value: Any) -> Any:
        """Go on."""
        return self._inner.send(value)

    def close(self) -> None:
        """End it."""
        self._inner.close()

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    def __next__(self) -> Any:
        return self._inner.send(None)


def coroutine(job: Job) -> JobCoroutine | None:
    """What the suites give to a pool with ``ASYNC`` as ``PoolOptions.coroutine``: does what the header ``do`` says."""
    make = COROUTINES.get(job.headers["do"])
    return None if make is None else Softened(make(job))


def note(path: str) -> None:
    """Append the process's id to a file; for ``initialize`` and ``finalize``."""
    with open(path, "a", encoding="ascii") as file:
        file.write(f"{os.getpid()}\n")
