"""When children are born."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Collection
from typing import Any

from umbel_kernel.errors import PoolError
from umbel_kernel.spi.pool import Job, PoolOptions
from umbel_pool_prefork.forker import Forker
from umbel_pool_prefork.slot import Slot
from umbel_pool_prefork.stamp import Stamps

logger = logging.getLogger(__name__)

STILLBORN_LIMIT = 5
"""So many times in a row that children die before they are ready break the pool."""

FIRST_PAUSE = 0.05
"""Seconds to wait after a child that died at birth; doubled with each more in a row."""


class Nursery:
    """Has children forked, more slowly while they die at birth, and gives up after some time.

    Attributes:
        forker: the fork server; None before the first child and after it was lost.
        due: monotonic time before which no child is to be born.
        broken: why no child can be brought to life, once that is certain.
    """

    def __init__(self, execute: Callable[[Job], Any], options: PoolOptions, abandon: Callable[[], None]) -> None:
        self._execute = execute
        self._options = options
        self._abandon = abandon
        self._stamps = Stamps()
        self._born = 0
        self._stillborn = 0
        self._counted = 0.0
        self.forker: Forker | None = None
        self.due = 0.0
        self.broken: PoolError | None = None

    def prepare(self) -> Forker:
        """Start the fork server, if there is none.

        Raises:
            PoolError: the system refuses.
        """
        if self.forker is None:
            self.forker = Forker(self._stamps, self._execute, self._options, self._abandon)
        return self.forker

    def bear(self, indexes: Collection[int]) -> Slot:
        """Have a child forked. Whether it was is told later.

        Args:
            indexes: of the children that work; the new one gets the lowest that is free.

        Raises:
            PoolError: the system refuses.
        """
        forker = self.prepare()
        self._born += 1
        try:
            ours, theirs = socket.socketpair()
        except OSError as error:
            raise PoolError(f"no socket pair for a child process: {error}; raise the limit of open files") from error
        index = next(index for index in range(len(indexes) + 1) if index not in indexes)
        with theirs:
            try:
                place, stamp = self._stamps.take()
                forker.bear(self._born, index, place, theirs)
            except PoolError:
                ours.close()
                raise
        ours.setblocking(False)
        return Slot(self._born, index, ours, stamp, forker, lambda: self._stamps.give_back(place))

    def thrives(self) -> None:
        """A child is ready."""
        self._stillborn = 0

    def stillborn(self, said: str, since: float) -> None:
        """A child died before it was ready, or could not be forked. Of those that were asked for at the same time, one
        is counted.

        Args:
            since: monotonic time at which it was asked for.
        """
        if since < self._counted:
            return
        self._counted = now = time.monotonic()
        self._stillborn += 1
        self.due = now + FIRST_PAUSE * 2 ** (self._stillborn - 1)
        if self._stillborn >= STILLBORN_LIMIT and self.broken is None:
            self.broken = PoolError(
                f"{self._stillborn} child processes in a row died before they could run a job; the last: {said}"
            )
            logger.critical("%s", self.broken)

    def lose(self) -> str:
        """The fork server is gone; the next child brings a new one. Returns how it ended, in words."""
        forker, self.forker = self.forker, None
        return forker.close() if forker is not None else ""
