"""What is not to run any more, kept in the result store: so it holds although every worker is started anew."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from umbel.model import states
from umbel.results.store import ResultStore
from umbel_kernel.spi.backend import BackendCapability

EXPIRES = float(os.environ.get("CELERY_WORKER_REVOKE_EXPIRES", 10_800))
"""Seconds for which a revoke holds."""

_MARK = "umbel-revoked"
_BATCH = 1000

Stamps = Mapping[str, Sequence[Any]]
"""Names of stamped headers, each with values of which one is enough."""


class Revocations:
    """Notes of revokes in a result store, each under an id that can be worked out from a task's message.

    One more says that there are any, so that nobody has to look for each task where nothing was revoked.

    Args:
        store: the app's.
    """

    def __init__(self, store: ResultStore) -> None:
        self._store = store

    @property
    def kept(self) -> bool:
        """Whether this store keeps them; one whose results travel to their callers does not."""
        return self._store.enabled and not self._store.can(BackendCapability.REPLY_TO)

    def keep(self, task_ids: Iterable[str], stamps: Stamps) -> None:
        """Note that tasks of these ids, and tasks that bear one of these stamps, are not to run.

        Raises:
            OperationalError: the store is away; all or some may not be noted.
        """
        notes = [*map(_by_id, task_ids), *(_by_stamp(name, value) for name in stamps for value in stamps[name]), _MARK]
        for start in range(0, len(notes), _BATCH):
            records = [self._store.record(note, states.REVOKED, None) for note in notes[start : start + _BATCH]]
            for record in records:
                record.expires = EXPIRES
            self._store.store(records)

    def any(self, timeout: float) -> bool:
        """Whether anything was revoked of late.

        Raises:
            OperationalError: the store did not answer within ``timeout`` seconds.
        """
        return bool(self._store.look([_MARK], timeout))

    def find(self, tasks: Sequence[tuple[str, Mapping[str, Any]]], timeout: float) -> set[str]:
        """The ids of those that were revoked, of tasks by their ids and headers.

        Raises:
            OperationalError: the store did not answer within ``timeout`` seconds.
        """
        notes: dict[str, list[str]] = {}
        for task_id, headers in tasks:
            notes.setdefault(_by_id(task_id), []).append(task_id)
            for name, values in stamps_of(headers).items():
                for value in values:
                    notes.setdefault(_by_stamp(name, value), []).append(task_id)
        found = self._store.look(list(notes), timeout) if notes else {}
        return {task_id for note in found for task_id in notes[note]}


def stamps_of(headers: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The stamps that a task's message bears, each with its values."""
    names, stamps = headers.get("stamped_headers"), headers.get("stamps")
    if not isinstance(names, list | tuple) or not isinstance(stamps, Mapping):
        return {}
    return {name: values_of(stamps[name]) for name in names if isinstance(name, str) and stamps.get(name) is not None}


def values_of(value: Any) -> list[Any]:
    """The values of a stamp, of which there may be one or several."""
    return list(value) if isinstance(value, list | tuple | set | frozenset) else [value]


def _by_id(task_id: str) -> str:
    return f"{task_id}-revoked"


def _by_stamp(name: str, value: Any) -> str:
    text = json.dumps([name, value], default=str, sort_keys=True)
    return f"{_MARK}-{hashlib.sha256(text.encode()).hexdigest()[:32]}"
