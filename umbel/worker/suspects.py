"""Tasks that were delivered before, and may be what their worker died of.

A pool of processes tells which task a process died of, and the count of that travels in the task's message (``Lost``).
When a whole worker dies nobody is left to tell: a broker says at the most that a message was delivered before, which is
as true of those that only waited, and of those that were given back. So the worker notes in the result store that it
begins such a task, before it does. A task that comes again with such a note, and has not ended, was running when its
worker died. From then on it begins alone among its kind, so that it is not counted for another's deeds.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from typing import Any, Protocol

from umbel.model import states
from umbel.worker.held import Held, lost_times
from umbel.worker.lost import Lost
from umbel.worker.settling import Settling
from umbel.worker.timer import Timer
from umbel_kernel.errors import UmbelError
from umbel_kernel.spi.backend import BackendCapability

logger = logging.getLogger("umbel.worker.suspects")

ALONE = 10.0
"""Seconds that one of those that were running when a worker died has before the next of them begins: what ends a worker
mostly does so at once, and long tasks that were interrupted twice are not to run one after the other."""

KEPT = 86400.0
"""Seconds for which a note is kept."""

LOOK = 5.0
"""Seconds that the store has for an answer."""


class Watched(Protocol):
    """What is needed of the loop."""

    app: Any
    lost: Lost
    settling: Settling
    timer: Timer
    ready: deque[Held]
    running: dict[int, Held]
    later: dict[int, Held]


class Suspects:
    """Looks after tasks that were delivered before. Those that wait stand in the loop's ``later``.

    Args:
        loop: the worker's.

    Attributes:
        enabled: whether there is anything to look for, and a store to look in.
    """

    def __init__(self, loop: Watched) -> None:
        self._loop = loop
        conf = loop.app.conf
        self._deduplicate: bool = conf.worker_deduplicate_successful_tasks
        self.enabled: bool = loop.app.backend.enabled and (loop.lost.counts or self._deduplicate)
        self._new: deque[int] = deque()
        self._known: deque[int] = deque()
        self._marks: dict[int, int] = {}
        self._alone: int | None = None

    def __len__(self) -> int:
        """How many wait to begin; also some that are not held any more."""
        return len(self._new) + len(self._known)

    def admit(self, again: Sequence[Held]) -> None:
        """Look what is known of tasks that were delivered before, and let them wait for their turn."""
        loop = self._loop
        try:
            store = loop.app.backend
            if store.can(BackendCapability.REPLY_TO):
                self.enabled = False  # results go to the callers: there is nothing to look in
                loop.ready.extend(again)
                return
            found = store.look([name for held in again for name in (held.task_id, _note(held))], LOOK)
        except UmbelError as error:
            logger.warning("cannot see whether %d redelivered tasks have ended before: %s", len(again), error)
            loop.ready.extend(again)
            return
        for held in again:
            document, note = found.get(held.task_id), found.get(_note(held))
            ended = document is not None and document.status in states.READY_STATES
            if document is not None and document.status == states.SUCCESS and self._drops(held):
                continue
            marks = _marks(note.result) if note is not None and not ended else 0
            lost = lost_times(held.job.headers) + marks + 1
            if marks and loop.lost.too_often(lost):
                loop.lost.give_up(held, lost)
                continue
            self._marks[held.job.id] = marks
            loop.later[held.job.id] = held
            (self._known if marks or lost > 1 else self._new).append(held.job.id)

    def begin(self, room: int) -> list[Held]:
        """Those that may begin now, up to so many. That they do is noted in the store."""
        chosen: list[Held] = []
        while len(chosen) < room and (held := self._next(self._new)) is not None:
            chosen.append(held)
        alone = self._next(self._known) if len(chosen) < room and self._free() else None
        if alone is not None:
            self._alone = alone.job.id
            self._loop.timer.call_after(ALONE, self._join, self._alone)
            chosen.append(alone)
        if chosen:
            self._mark(chosen)
        return chosen

    def forgive(self, cut: Sequence[Held]) -> None:
        """Take back the notes of tasks that this worker itself cuts off as it ends: they did not take it with them."""
        again = [held for held in cut if self.enabled and held.received is not None and held.received.redelivered]
        if not again:
            return
        store, records = self._loop.app.backend, []
        try:
            found = store.look([_note(held) for held in again], LOOK)
            for held in again:
                note = found.get(_note(held))
                marks = _marks(note.result) if note is not None else 0
                if marks:
                    record = store.record(_note(held), states.STARTED, {"begun": marks - 1})
                    record.expires = KEPT
                    records.append(record)
            if records:
                store.store(records)
        except UmbelError as error:
            logger.warning("cannot note that %d tasks are cut off by the end of this worker: %s", len(again), error)

    def _next(self, line: deque[int]) -> Held | None:
        """The first of a line that is still held."""
        while line:
            job_id = line.popleft()
            held = self._loop.later.pop(job_id, None)
            if held is not None:
                return held
            self._marks.pop(job_id, None)
        return None

    def _drops(self, held: Held) -> bool:
        """Whether a task that has succeeded before is not to run again; if so it is acknowledged."""
        if not (self._deduplicate and held.plan.late):
            return False
        logger.info("Task %s[%s] has succeeded before and is not run again", held.name, held.task_id)
        self._loop.settling.ack(held)
        return True

    def _free(self) -> bool:
        """Whether another of those that were running when a worker died may begin."""
        return self._alone is None or self._alone not in self._loop.running

    def _join(self, job_id: int) -> None:
        if self._alone == job_id:
            self._alone = None

    def _mark(self, begun: Sequence[Held]) -> None:
        store, records = self._loop.app.backend, []
        for held in begun:
            record = store.record(_note(held), states.STARTED, {"begun": self._marks.pop(held.job.id, 0) + 1})
            record.expires = KEPT
            records.append(record)
        try:
            store.store(records)
        except UmbelError as error:
            logger.warning("cannot note that %d redelivered tasks begin: %s", len(begun), error)


def _note(held: Held) -> str:
    """The id under which the store keeps how often a run of a task has begun."""
    headers = held.job.headers
    return f"{held.task_id}-begun-{headers.get('retries') or 0}-{headers.get('replaced_task_nesting') or 0}"


def _marks(value: Any) -> int:
    count = value.get("begun") if isinstance(value, dict) else None
    return count if type(count) is int and 0 < count < 1 << 16 else 0
