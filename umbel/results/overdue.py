"""What to say of results that did not come in time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from umbel.model import states
from umbel.model.exceptions import TimeoutError

_SHOWN = 5
"""How many of the results that are missing are named."""


def one_overdue(task_id: str, timeout: float, found: Any, seen: str | None) -> TimeoutError:
    """The error for one task.

    Args:
        found: its document at the end; None when nothing is known of it.
        seen: the state that it was last seen in before.
    """
    state = states.PENDING if found is None else found.status
    text = f"the result of task {task_id} did not come within {timeout:g} seconds; {_known(state, seen)}"
    return TimeoutError(text, task_id=task_id, state=state)


def several_overdue(task_ids: Sequence[str], total: int, timeout: float, found: Mapping[str, Any]) -> TimeoutError:
    """The error for some of several tasks.

    Args:
        task_ids: of those that did not come.
        total: how many there are.
        found: the documents, at the end, of those of which something is known.
    """
    known = [found[task_id].status if task_id in found else states.PENDING for task_id in task_ids]
    shown = ", ".join(f"{task_id} ({state})" for task_id, state in zip(task_ids[:_SHOWN], known, strict=False))
    more = f" and {len(task_ids) - _SHOWN} more" if len(task_ids) > _SHOWN else ""
    counted = Counter(known)
    tail = "they may still come"
    if counted[states.PENDING]:
        tail += f"; {counted[states.PENDING]} of them are unknown to the store: {_UNKNOWN}"
    text = f"{len(task_ids)} of {total} results did not come within {timeout:g} seconds: {shown}{more}; {tail}"
    return TimeoutError(text, task_id=task_ids[0], state=known[0])


_UNKNOWN = "not begun yet, never sent, kept in another store, or expired or deleted"


def _known(state: str, seen: str | None) -> str:
    if state != states.PENDING:
        return f"its state is {state}, and it may still come"
    if seen is not None:
        return f"it was {seen} before, and nothing is known of it now ({state}): it has expired or was deleted"
    return f"nothing is known of it ({state}): {_UNKNOWN}"
