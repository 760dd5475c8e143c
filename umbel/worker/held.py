"""A task that the worker holds: its delivery, its job, and where it stands."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from umbel.app.outcome import TaskOutcome
from umbel.worker.request import Request, request_class
from umbel_kernel.spi.message import Delivery
from umbel_kernel.spi.pool import Job

logger = logging.getLogger("umbel.worker.holds")

LOST_HEADER = "umbel-lost"
"""Counts in a task's message how many processes it took with it."""

Identity = tuple[str, int, int, int]
"""One message of a task: its id, its retries so far, how often it was replaced, and lost with a process."""


def identity(headers: Mapping[str, Any]) -> Identity | None:
    """Which message of which task this is: a retry has its task's id, too. None without an id."""
    task_id = headers.get("id")
    if type(task_id) is not str:
        return None
    return task_id, _count(headers, "retries"), _count(headers, "replaced_task_nesting"), _count(headers, LOST_HEADER)


def _count(headers: Mapping[str, Any], name: str) -> int:
    value = headers.get(name)
    return value if type(value) is int else 0


def lost_times(headers: Mapping[str, Any]) -> int:
    """How many processes a task took with it, by its message."""
    return _count(headers, LOST_HEADER)


def fence(headers: Mapping[str, Any], deliveries: int | None) -> int:
    """Which run of a task: a number that grows when it is replaced, retried, lost with a process, or delivered again.

    0 for the first run; below 2**48.

    Args:
        deliveries: how often this message was delivered before.
    """
    if not (deliveries or headers.get("retries") or headers.get("replaced_task_nesting") or LOST_HEADER in headers):
        return 0
    parts = (
        (_count(headers, "replaced_task_nesting"), 8),
        (_count(headers, "retries"), 16),
        (_count(headers, LOST_HEADER), 8),
        (deliveries or 0, 16),
    )
    number = 0
    for value, bits in parts:
        number = number << bits | max(0, min(value, (1 << bits) - 1))
    return number


@dataclass(frozen=True, slots=True)
class Plan:
    """What of a task's options the worker goes by, read once.

    Attributes:
        name: the task's name.
        late: acknowledge after the task, not when it starts.
        soft: seconds of its soft time limit, or None.
        hard: seconds of its hard time limit, or None.
        ack_failed: with ``late``, acknowledge also a task that failed.
        ack_timed_out: with ``late``, acknowledge also a task that ran over its hard limit, instead of delivering it
            again.
        requeue_lost: with ``late``, whether a task whose process was lost is delivered again.
        retry_lost: retry a task whose process was lost, as often as its ``max_retries`` says.
        ignore_result: store nothing.
        request: the class of its requests, if the task has one of its own.
    """

    name: str
    late: bool
    soft: float | None
    hard: float | None
    ack_failed: bool
    ack_timed_out: bool
    requeue_lost: bool
    retry_lost: bool
    ignore_result: bool
    request: type[Request] | None = None

    @classmethod
    def of(cls, task: Any, soft: float | None, hard: float | None) -> Plan:
        """The plan of a task; ``soft`` and ``hard`` are the worker's own limits."""
        both = task.acks_on_failure_or_timeout is not False
        on_failure, on_timeout = task.acks_on_failure, task.acks_on_timeout
        return cls(
            task.name,
            bool(task.acks_late),
            task.soft_time_limit if task.soft_time_limit is not None else soft,
            task.time_limit if task.time_limit is not None else hard,
            both if on_failure is None else bool(on_failure),
            both if on_timeout is None else bool(on_timeout),
            task.reject_on_worker_lost is not False,
            bool(task.retry_on_worker_lost),
            bool(task.ignore_result),
            request_class(task),
        )


@dataclass(slots=True, eq=False)
class Held:
    """One task on its way through the worker.

    Attributes:
        delivery: its message; None once the connection that it came by is lost.
        job: what the pool is given.
        plan: its task's plan.
        task_id: its id.
        acked: whether its message has been acknowledged.
        started: whether the pool has begun to run it.
        until: when it expires; None for never.
        received: its message as it came, also after the connection is lost.
        outcome: what it came to, as long as that is not settled.
        refused: whether nothing may follow from this run, because another worker has the task by now.
        signal: the name of the one by which somebody has asked to end it.
        request: what hears of it, if its task has a class for that.
    """

    delivery: Delivery | None
    job: Job
    plan: Plan
    task_id: str
    acked: bool = False
    started: bool = False
    until: datetime | None = None
    received: Delivery | None = None
    outcome: TaskOutcome | None = None
    refused: bool = False
    signal: str | None = None
    request: Request | None = None

    @property
    def identity(self) -> Identity | None:
        """Which message of which task it is."""
        return identity(self.job.headers)

    @property
    def ignores_result(self) -> bool:
        """Whether nothing is stored of it."""
        return self.plan.ignore_result or bool(self.job.headers.get("ignore_result"))

    # By Celery's names, for receivers of ``task_received``.

    @property
    def id(self) -> str:
        """The task's id."""
        return self.task_id

    @property
    def name(self) -> str:
        """The task's name."""
        return self.plan.name

    @property
    def request_dict(self) -> dict[str, Any]:
        """The message's headers."""
        return self.job.headers

    @property
    def message(self) -> Delivery | None:
        """The message."""
        return self.delivery


def tell_refused(held: Held) -> None:
    """Say that nothing follows from a run of a task."""
    logger.warning(
        "What task %s[%s] came to is refused: its lease ran out while this worker was stopped or cut off, and another "
        "worker has it",
        held.name,
        held.task_id,
    )
