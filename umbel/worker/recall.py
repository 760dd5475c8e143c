"""What was revoked before this worker could hear of it, asked of the result store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any, Protocol

from umbel.results.revocations import EXPIRES, Revocations
from umbel.worker.held import Held
from umbel.worker.revoked import Revoked
from umbel.worker.timer import Timer
from umbel_kernel.errors import UmbelError

logger = logging.getLogger("umbel.worker.recall")

LOOK = 2.0
"""Seconds that the store has for an answer."""

_PAUSE = 1.0


class Recalling(Protocol):
    """What is needed of the loop."""

    app: Any
    timer: Timer
    ready: Any
    later: dict[int, Held]
    running: dict[int, Held]

    def revoke(self, task_ids: Sequence[str], *, terminate: bool, signal: str = "TERM") -> None:
        """Take these tasks back from the pool where they have not begun."""


class Recall:
    """Looks up the tasks that come, as long as there may be something in the store about one of them.

    A revoke is noted there before the workers are told, and it is told to those that listen. So each time that this
    worker begins to listen it asks once whether anything was revoked of late, and only then looks for each task, all of
    a turn at once.

    Args:
        loop: the worker's.
        revoked: what is found is added there.
        now: the monotonic time.
    """

    def __init__(self, loop: Recalling, revoked: Revoked, now: Callable[[], float] = monotonic) -> None:
        self._loop = loop
        self._revoked = revoked
        self._now = now
        self._revocations: Revocations | None = None
        self._until = 0.0
        self._ask_again: float | None = None

    @property
    def active(self) -> bool:
        """Whether tasks that come are to be looked up."""
        return self._ask_again is not None or self._now() < self._until

    def begin(self) -> None:
        """The worker starts, or listens for commands from now on: see whether anything was revoked of late. Callable
        from any thread."""
        try:
            revocations = Revocations(self._loop.app.backend)
            if not revocations.kept:
                return
            self._revocations = revocations
            if revocations.any(LOOK):
                self._until = self._now() + EXPIRES
                self._loop.timer.call_after(0, self._review)
            self._ask_again = None
        except UmbelError as error:
            logger.warning("cannot see whether tasks were revoked while this worker was away: %s", error)
            self._ask_again = self._now() + _PAUSE

    def look(self, come: Sequence[Held]) -> None:
        """Look up tasks that have come; those that are revoked are among ``revoked`` afterwards."""
        if self._ask_again is not None and self._now() >= self._ask_again:
            self.begin()
        if self._revocations is None or not come:
            return
        try:
            found = self._revocations.find([(held.task_id, held.job.headers) for held in come], LOOK)
        except UmbelError as error:
            logger.warning("cannot see whether %d tasks were revoked: %s", len(come), error)
            return
        if found:
            self._revoked.add(found)

    def _review(self) -> None:
        """Look up what is held already."""
        loop = self._loop
        held = [*loop.ready, *loop.later.values(), *(each for each in loop.running.values() if not each.started)]
        self.look(held)
        ids = [each.task_id for each in held if each.task_id in self._revoked]
        if ids:
            loop.revoke(ids, terminate=False)
