"""A job that runs as a coroutine."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from umbel_kernel.errors import PoolError
from umbel_kernel.spi.pool import Job, JobCoroutine


class Run:
    """One job in the event loop.

    Attributes:
        verdict: what its outcome is, whatever the coroutine comes to; set when it is cancelled.
        task: what runs it in the event loop.
    """

    __slots__ = ("_coroutine", "job", "task", "verdict")

    def __init__(
        self, job: Job, coroutine: JobCoroutine, around: Coroutine[Any, Any, Any], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.job = job
        self.verdict: PoolError | None = None
        self._coroutine = coroutine
        self.task: asyncio.Task[Any] = asyncio.Task(around, loop=loop)

    def soften(self) -> None:
        """In the loop: the soft limit is up."""
        self._coroutine.soften(self.task, self.job.soft_limit)

    def cancel(self) -> None:
        """In the loop: end it."""
        self.task.cancel()

    def __str__(self) -> str:
        return label(self.job)


def label(job: Job) -> str:
    """A job for the log: by the name and the id of its task, where it is one."""
    name, task_id = job.headers.get("task"), job.headers.get("id")
    return f"task {name}[{task_id}]" if name and task_id else f"job {job.id}"
