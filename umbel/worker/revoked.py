"""The tasks that are not to run: by their ids, and by stamps that they bear."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from time import monotonic
from typing import Any, Protocol

from umbel.results.revocations import EXPIRES, Stamps, stamps_of

LIMIT = int(os.environ.get("CELERY_WORKER_REVOKES_MAX", 50_000))
"""How many revoked ids, and how many revoked stamps, a worker remembers."""


class Keeper(Protocol):
    """Keeps revokes beyond the worker's own life."""

    def keep(self, task_ids: Iterable[str], stamps: Stamps) -> None:
        """Keep these."""


class Remembered:
    """A bounded set, each member kept for a time.

    Args:
        limit: how many members are kept; the oldest go first.
        expires: seconds that one is kept.
    """

    def __init__(self, limit: int, expires: float, now: Callable[[], float]) -> None:
        self._limit = limit
        self._expires = expires
        self._now = now
        self._since: OrderedDict[Hashable, float] = OrderedDict()
        self._lock = threading.Lock()

    def add(self, members: Iterable[Hashable], age: float = 0.0) -> None:
        """Add members that are as old as this, in seconds."""
        since = self._now() - age
        with self._lock:
            for member in members:
                self._since[member] = since
                self._since.move_to_end(member)
            while len(self._since) > self._limit:
                self._since.popitem(last=False)

    def __contains__(self, member: Hashable) -> bool:
        since = self._since.get(member)
        if since is None:
            return False
        if self._now() - since > self._expires:
            with self._lock:
                self._since.pop(member, None)
            return False
        return True

    def __len__(self) -> int:
        return len(self._since)

    def __iter__(self) -> Iterator[Hashable]:
        with self._lock:
            return iter(list(self._since))


class Revoked:
    """What this worker is not to run. Members may be added in any thread.

    Args:
        limit: how many ids and how many stamps are kept; the oldest go first. By default CELERY_WORKER_REVOKES_MAX or
            50,000.
        expires: seconds that one is kept. By default CELERY_WORKER_REVOKE_EXPIRES or 10,800.

    Attributes:
        keeper: keeps what is added for the next life of this worker; None for nobody.
    """

    def __init__(self, limit: int = LIMIT, expires: float = EXPIRES, now: Callable[[], float] = monotonic) -> None:
        self._ids = Remembered(limit, expires, now)
        self._stamps = Remembered(limit, expires, now)
        self.keeper: Keeper | None = None

    def add(self, task_ids: Iterable[str], *, age: float = 0.0) -> None:
        """Add ids, which were revoked so many seconds ago."""
        ids = list(task_ids)
        self._ids.add(ids, age)
        if self.keeper is not None and not age:
            self.keeper.keep(ids, {})

    def add_stamps(self, stamps: Stamps, *, age: float = 0.0) -> None:
        """Add stamps, which were revoked so many seconds ago."""
        self._stamps.add([(name, _frozen(value)) for name, values in stamps.items() for value in values], age)
        if self.keeper is not None and not age:
            self.keeper.keep((), stamps)

    def covers(self, task_id: str, headers: Mapping[str, Any]) -> bool:
        """Whether a task is not to run."""
        return task_id in self._ids or (bool(self._stamps) and self.stamped(headers))

    def stamped(self, headers: Mapping[str, Any]) -> bool:
        """Whether a task bears a stamp that was revoked."""
        return any(
            (name, _frozen(value)) in self._stamps for name, values in stamps_of(headers).items() for value in values
        )

    def __contains__(self, task_id: object) -> bool:
        return task_id in self._ids

    def __bool__(self) -> bool:
        return bool(self._ids) or bool(self._stamps)

    def __len__(self) -> int:
        return len(self._ids)

    def __iter__(self) -> Iterator[str]:
        """The ids, oldest first."""
        return iter([member for member in self._ids if isinstance(member, str)])


def _frozen(value: Any) -> Hashable:
    return value if isinstance(value, Hashable) else repr(value)
