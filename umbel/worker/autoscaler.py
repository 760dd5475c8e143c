"""Lets the pool grow while tasks wait, and shrink when it has been larger than needed for a while."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

from umbel_kernel.clock import SYSTEM_CLOCK, Clock
from umbel_kernel.errors import ConfigurationError, PoolError
from umbel_kernel.spi.pool import Pool

logger = logging.getLogger("umbel.worker.autoscale")

INTERVAL = 0.5
"""Seconds between two looks at the load."""

KEEPALIVE = 30.0
"""Seconds without growth after which a pool shrinks, unless the environment has ``AUTOSCALE_KEEPALIVE``."""


class Autoscaler:
    """Changes the size of a pool. Used by the thread that turns the loop. Give a class of your own by
    ``worker_autoscaler``: it is made and called as this one.

    Args:
        pool: to be resized.
        most: its largest size.
        least: its smallest size, at least 1.
        load: how many tasks the worker holds that run or could; one more when there is no room for others.
        keepalive: seconds without growth after which the pool shrinks.
        clock: the time.
    """

    def __init__(
        self,
        pool: Pool,
        most: int,
        least: int = 1,
        *,
        load: Callable[[], int],
        keepalive: float | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.pool = pool
        self.load = load
        self.keepalive = float(os.environ.get("AUTOSCALE_KEEPALIVE", KEEPALIVE)) if keepalive is None else keepalive
        self._clock = clock
        self._grown = clock.monotonic()
        self.most, self.least = self._checked(most, least)

    @property
    def processes(self) -> int:
        """The pool's size now."""
        return self.pool.size

    def wanted(self) -> int:
        """The size that the pool should have for its load now."""
        return max(self.least, min(self.load(), self.most))

    def maybe_scale(self) -> None:
        """Grow at once when there is more to do, shrink when there has been less for a while."""
        wanted, size = self.wanted(), self.processes
        try:
            if wanted > size:
                self._grown = self._clock.monotonic()
                logger.info("Scaling up %d processes.", wanted - size)
                self.pool.grow(wanted - size)
            elif wanted < size and self._clock.monotonic() - self._grown >= self.keepalive:
                logger.info("Scaling down %d processes.", size - wanted)
                self.pool.shrink(size - wanted)
            elif wanted == size:
                self._grown = self._clock.monotonic()
        except PoolError as error:
            logger.error("Autoscaler: the pool stays at %d: %s", self.processes, error)

    def update(self, most: int | None = None, least: int | None = None) -> tuple[int, int]:
        """Change the limits; returns them. The pool follows at the next look.

        Raises:
            ConfigurationError: the smallest size is over the largest, or below 1.
        """
        self.most, self.least = self._checked(
            self.most if most is None else most, self.least if least is None else least
        )
        return self.most, self.least

    def info(self) -> dict[str, Any]:
        """Facts, under Celery's names."""
        return {"max": self.most, "min": self.least, "current": self.processes, "qty": self.load()}

    @staticmethod
    def _checked(most: int, least: int) -> tuple[int, int]:
        least = max(least, 1)
        if most < least:
            raise ConfigurationError(f"autoscaling between {least} and {most}: the second is the smaller one")
        return most, least
