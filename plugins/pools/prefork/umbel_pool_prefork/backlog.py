"""The jobs that no child holds yet, and who gets them."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from umbel_kernel.errors import PoolError
from umbel_kernel.spi.pool import Job
from umbel_pool_prefork.pace import AHEAD, Pace
from umbel_pool_prefork.slot import Slot


class Backlog:
    """Waiting jobs in order.

    Attributes:
        pace: how long jobs take; it decides how many a child is given.
    """

    def __init__(self) -> None:
        self.pace = Pace()
        self._jobs: OrderedDict[int, Job] = OrderedDict()

    def __len__(self) -> int:
        return len(self._jobs)

    def add(self, jobs: Iterable[Job]) -> None:
        """To the end."""
        waiting = self._jobs
        for job in jobs:
            waiting[job.id] = job

    def put_back(self, jobs: Sequence[Job]) -> None:
        """To the front, in their order."""
        for job in reversed(jobs):
            self._jobs[job.id] = job
            self._jobs.move_to_end(job.id, last=False)

    def withdraw(self, job_ids: Iterable[int]) -> list[int]:
        """Drop jobs; returns the ids of those that were here."""
        return [job_id for job_id in job_ids if self._jobs.pop(job_id, None) is not None]

    def clear(self) -> None:
        """Drop all."""
        self._jobs.clear()

    def share_out(self, slots: Iterable[Slot], jobs_per_child: int | None) -> list[tuple[Job, PoolError]]:
        """Send jobs to children that have room, in equal parts, the least laden first.

        Returns:
            Jobs that cannot be carried to a child, each with the reason.
        """
        waiting = self._jobs
        refused: list[tuple[Job, PoolError]] = []
        if not waiting:
            return refused
        rooms = sorted(
            (len(slot.staged), index, room, slot)
            for index, slot in enumerate(slots)
            if (room := self._room(slot, jobs_per_child)) > 0
        )
        take = waiting.popitem
        for index, (_, _, room, slot) in enumerate(rooms):
            count = min(room, -(-len(waiting) // (len(rooms) - index)))
            if not count:
                break
            refused += slot.send([take(last=False)[1] for _ in range(count)])
        return refused

    def _room(self, slot: Slot, jobs_per_child: int | None) -> int:
        """How many jobs a child may be given now. It is filled up when half of its jobs are done, so that it pays."""
        load, depth = len(slot.staged), self.pace.depth
        if load > depth // 2 or not slot.usable or slot.backlogged:
            return 0
        room = depth - load
        if jobs_per_child is not None:
            room = min(room, jobs_per_child - slot.done - load)
        if load:
            running = slot.running()
            if running is not None and time.monotonic() - running[2] >= AHEAD:
                return 0
        return room
