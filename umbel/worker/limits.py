"""Time limits that a pool cannot keep: said once for each task, not passed over in silence."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

from umbel_kernel.spi.pool import Job, PoolCapability

logger = logging.getLogger("umbel.worker.limits")


class LimitCheck:
    """Warns of limits that the pool does not enforce.

    Args:
        pool: the pool's name.
        capabilities: what it can do.
    """

    def __init__(self, pool: str, capabilities: Collection[PoolCapability]) -> None:
        self._pool = pool
        self._soft = PoolCapability.SOFT_TIME_LIMIT in capabilities
        self._hard = PoolCapability.HARD_TIME_LIMIT in capabilities
        self._said: set[str] = set()

    @property
    def needed(self) -> bool:
        """Whether there is a limit that this pool cannot keep."""
        return not (self._soft and self._hard)

    def announce(self, limits: Iterable[tuple[str, float | None, float | None]]) -> None:
        """Warn when the worker starts.

        Args:
            limits: of each task its name, and its own soft and hard limit in seconds.
        """
        soft, hard = [], []
        for name, softly, hardly in limits:
            if softly is not None and not self._soft:
                soft.append(name)
            if hardly is not None and not self._hard:
                hard.append(name)
        for kind, names in (("soft", soft), ("hard", hard)):
            if names:
                self._said.update(names)
                logger.warning(
                    "the pool %r cannot enforce %s time limits: tasks that have one run as long as they take, "
                    "here %s; use a pool of processes, as with -P prefork",
                    self._pool,
                    kind,
                    ", ".join(sorted(names)),
                )

    def __call__(self, name: str, job: Job) -> None:
        """Warn, once for each task, of a limit that this job has and the pool cannot keep."""
        if name in self._said:
            return
        kept = (("soft", job.soft_limit, self._soft), ("hard", job.hard_limit, self._hard))
        lacking = [f"{kind} time limit of {limit:g} s" for kind, limit, able in kept if limit is not None and not able]
        if lacking:
            self._said.add(name)
            logger.warning(
                "task %s has a %s, which the pool %r cannot enforce: the task runs as long as it takes; "
                "use a pool of processes, as with -P prefork",
                name,
                " and a ".join(lacking),
                self._pool,
            )
