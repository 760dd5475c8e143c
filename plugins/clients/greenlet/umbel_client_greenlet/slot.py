"""A greenlet of the pool, and the job that it runs."""

from __future__ import annotations

from greenlet import GreenletExit, greenlet

from umbel_client_greenlet.hub import Pending
from umbel_kernel.errors import JobInterrupted
from umbel_kernel.spi.pool import Job


class Killed(JobInterrupted, GreenletExit):  # type: ignore[misc]
    """Raised in a job that is to end; hubs know its second base and say nothing of it."""


class Slot:
    """A greenlet of the pool.

    Attributes:
        greenlet: the greenlet.
        job: what it runs; None between two jobs, when nothing may be raised in it.
        verdict: what the job's outcome is whatever it does from now on; it was told to end.
        pending: the job's time limits, and what comes after them.
        leaves: whether it is to end when it is woken.
        given_up: whether its job did not end though it was told to, and the pool goes on without it.
    """

    __slots__ = ("given_up", "greenlet", "job", "leaves", "pending", "verdict")

    def __init__(self) -> None:
        self.greenlet: greenlet
        self.job: Job | None = None
        self.verdict: Exception | None = None
        self.pending: list[Pending] = []
        self.leaves = False
        self.given_up = False

    def settle(self) -> None:
        """The job has ended: no limit counts any more."""
        self.job = self.verdict = None
        if self.pending:
            for each in self.pending:
                each.cancel()
            self.pending.clear()
