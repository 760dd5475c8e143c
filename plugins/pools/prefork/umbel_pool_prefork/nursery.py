"""When children are born."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from umbel_kernel.errors import PoolError
from umbel_kernel.spi.pool import Job, PoolOptions
from umbel_pool_prefork.birth import give_birth
from umbel_pool_prefork.slot import Slot

logger = logging.getLogger(__name__)

STILLBORN_LIMIT = 5
"""So many children in a row that die before they are ready break the pool."""

FIRST_PAUSE = 0.05
"""Seconds to wait after a child that died at birth; doubled with each more in a row."""


class Nursery:
    """Forks children, more slowly while they die at birth, and gives up after some.

    Attributes:
        due: monotonic time before which no child is to be born.
        broken: why no child can be brought to life, once that is certain.
    """

    def __init__(self, execute: Callable[[Job], Any], options: PoolOptions, abandon: Callable[[], None]) -> None:
        self._execute = execute
        self._options = options
        self._abandon = abandon
        self._born = 0
        self._stillborn = 0
        self.due = 0.0
        self.broken: PoolError | None = None

    def bear(self) -> Slot:
        """Fork a child.

        Raises:
            PoolError: the system refuses.
        """
        self._born += 1
        return give_birth(self._born, self._execute, self._options, self._abandon)

    def thrives(self) -> None:
        """A child is ready."""
        self._stillborn = 0

    def stillborn(self, said: str) -> None:
        """A child died before it was ready, or could not be forked."""
        self._stillborn += 1
        self.due = time.monotonic() + FIRST_PAUSE * 2 ** (self._stillborn - 1)
        if self._stillborn >= STILLBORN_LIMIT and self.broken is None:
            self.broken = PoolError(
                f"{self._stillborn} child processes in a row died before they could run a job; the last: {said}"
            )
            logger.critical("%s", self.broken)
