"""Results out of the plain data that they travel as."""

from __future__ import annotations

from typing import Any

from umbel.results.async_result import AsyncResult
from umbel.results.base import ResultBase
from umbel.results.group_result import GroupResult

_DEEPEST = 200


def result_from_tuple(data: Any, app: Any = None) -> Any:
    """The result that ``as_tuple`` has described.

    ``((id, parent), None)`` is a task's and ``((id, parent), [member, ...])`` a group's.

    Raises:
        ValueError: it is no such description, or nests more than 200 deep.
    """
    return _read(data, app, 0)


def _read(data: Any, app: Any, depth: int) -> Any:
    if isinstance(data, ResultBase):
        return data
    if depth > _DEEPEST:
        raise ValueError(f"a result that nests more than {_DEEPEST} deep is refused")
    try:
        who, members = data
        result_id, parent = who if isinstance(who, list | tuple) else (who, None)
    except (TypeError, ValueError):
        raise ValueError(f"a result is described as ((id, parent), None or a list), not as {data!r:.80}") from None
    if parent:
        parent = _read(parent, app, depth + 1)
    if members is not None:
        return GroupResult(result_id, [_read(member, app, depth + 1) for member in members], parent=parent, app=app)
    return AsyncResult(result_id, app=app, parent=parent)
