"""A wait of many steps, which a store that is away for a while does not end."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from umbel.wire.result_document import ResultDocument
from umbel_kernel.errors import OperationalError

T = TypeVar("T")

LONGEST = 30.0
"""Seconds that a store may be away during a wait without a limit."""

_PAUSE = 0.05


class Patience:
    """Asks a store, over and over, for as long as the whole wait may take.

    Args:
        store: the ``ResultStore``.
        end: when the wait is over (monotonic seconds), or None.
    """

    def __init__(self, store: Any, end: float | None) -> None:
        self._store = store
        self._end = end
        self._away_since: float | None = None

    def wait_for(self, task_ids: Sequence[str], seconds: float | None) -> dict[str, ResultDocument]:
        """See ``ResultStore.wait_for``; nothing while the store is away.

        Raises:
            OperationalError: the whole wait is over, or, when it has no limit, the store is away for half a minute.
        """
        return self._try(lambda: self._store.wait_for(task_ids, seconds), {})

    def known(self, task_id: str) -> ResultDocument:
        """What is known of a task; nothing while the store is away. Raises as ``wait_for`` does."""
        return self._try(lambda: self._store.get_document(task_id), ResultDocument(task_id))

    def _try(self, ask: Callable[[], T], otherwise: T) -> T:
        began = time.monotonic()
        try:
            answer = ask()
        except OperationalError:
            if self._away_since is None:
                self._away_since = began
            end = self._away_since + LONGEST if self._end is None else self._end
            left = end - time.monotonic()
            if left <= 0:
                self._away_since = None
                raise
            time.sleep(min(_PAUSE, left))
            return otherwise
        self._away_since = None
        return answer
