"""The ids of tasks that are not to run."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from time import monotonic


class Revoked:
    """A bounded set of ids, each kept for a time.

    Args:
        limit: how many ids are kept; the oldest go first. By default CELERY_WORKER_REVOKES_MAX or 50,000.
        expires: seconds that one is kept. By default CELERY_WORKER_REVOKE_EXPIRES or 10,800.
    """

    def __init__(
        self,
        limit: int = int(os.environ.get("CELERY_WORKER_REVOKES_MAX", 50_000)),
        expires: float = float(os.environ.get("CELERY_WORKER_REVOKE_EXPIRES", 10_800)),
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._limit = limit
        self._expires = expires
        self._now = now
        self._since: OrderedDict[str, float] = OrderedDict()

    def add(self, task_ids: Iterable[str]) -> None:
        """Add ids."""
        now = self._now()
        for task_id in task_ids:
            self._since[task_id] = now
            self._since.move_to_end(task_id)
        while len(self._since) > self._limit:
            self._since.popitem(last=False)

    def discard(self, task_id: str) -> None:
        """Remove one."""
        self._since.pop(task_id, None)

    def __contains__(self, task_id: object) -> bool:
        since = self._since.get(task_id)  # type: ignore[call-overload]
        if since is None:
            return False
        if self._now() - since > self._expires:
            self._since.pop(task_id, None)  # type: ignore[call-overload]
            return False
        return True

    def __len__(self) -> int:
        return len(self._since)

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._since))
