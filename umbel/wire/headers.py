"""The headers of a task message as they come in: what type each has to be of, and within which bounds.

All headers of protocol 2 are checked, those too that a worker only passes on: a message with one of the wrong type was
written by something that does not speak the protocol, and is put aside instead of run by halves. Headers that the
protocol does not name belong to whoever sent them and may be anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from operator import itemgetter
from typing import Any

from umbel.model.brief import brief
from umbel.model.exceptions import InvalidTaskError

LONGEST_ID = 512
"""Characters of the longest id that is taken: of a task, its root, parent or group, and of the name it is shown by."""

LONGEST_LIMIT = 1e9
"""Seconds of the longest time limit that is taken; about thirty years."""

_MOST = 2**31 - 1
_Types = tuple[frozenset[type], str]
_TEXT: _Types = (frozenset((str, type(None))), "a text or null")
_COUNT: _Types = (frozenset((int, type(None))), "a whole number or null")
_MOMENT: _Types = (
    frozenset((str, int, float, datetime, type(None))),
    "a point in time (ISO 8601 text or seconds of the epoch) or null",
)
_TYPES: Mapping[str, _Types] = {
    "lang": _TEXT,
    "task": (frozenset((str,)), "a text"),
    "id": (frozenset((str,)), f"a printable text of 1 to {LONGEST_ID} characters"),
    "shadow": _TEXT,
    "eta": _MOMENT,
    "expires": _MOMENT,
    "group": _TEXT,
    "group_index": _COUNT,
    "retries": _COUNT,
    "timelimit": (frozenset((list, tuple, type(None))), "a pair (hard, soft) or null"),
    "root_id": _TEXT,
    "parent_id": _TEXT,
    "argsrepr": _TEXT,
    "kwargsrepr": _TEXT,
    "origin": _TEXT,
    "ignore_result": (frozenset((bool, type(None))), "true, false or null"),
    "replaced_task_nesting": _COUNT,
    "stamped_headers": (frozenset((list, tuple, type(None))), "a list of texts or null"),
    "stamps": (frozenset((dict, type(None))), "a mapping or null"),
    "compression": _TEXT,
    "umbel-lost": _COUNT,
}
_COUNTS = ("retries", "group_index", "replaced_task_nesting", "umbel-lost")
_NAMES = ("root_id", "parent_id", "group", "shadow")
_NO_LIMITS = [None, None]

# A plain message has these headers and no others. Comparing them at once takes a third of the time of looking at each.
_USUAL: Mapping[str, Any] = {
    "retries": 0,
    "replaced_task_nesting": 0,
    "shadow": None,
    "eta": None,
    "expires": None,
    "group": None,
    "group_index": None,
    "timelimit": _NO_LIMITS,
    "parent_id": None,
    "stamped_headers": None,
}
_TEXTS = ("lang", "task", "id", "argsrepr", "kwargsrepr", "origin")
_PLAIN = len(_USUAL) + len(_TEXTS) + len(("root_id", "ignore_result", "stamps"))
_usual = tuple(_USUAL.values())
_usual_of, _texts_of = itemgetter(*_USUAL), itemgetter(*_TEXTS)

# Names and types of the last headers that were right. A producer's messages look alike, so that comparing with these
# stands for looking at each header; it takes half of the time.
_last: tuple[list[str], list[type]] = ([], [])


def is_id(value: object) -> bool:
    """Whether this can be an id: a printable text of bounded length, so that a log and a store's key can hold it."""
    return type(value) is str and 0 < len(value) <= LONGEST_ID and value.isprintable()


def is_plain(headers: Mapping[str, Any]) -> bool:
    """Whether headers are right and say nothing but the task, its id and its arguments: it is to be run at once, is no
    retry and no member of anything, and has no limits and no headers of its own. False says nothing.
    """
    if len(headers) != _PLAIN:
        return False
    try:
        usual = _usual_of(headers)
        if usual != _usual or type(usual[0]) is not int or type(usual[1]) is not int:
            return False
        task_id = headers["id"]
        if headers["root_id"] != task_id or type(headers["ignore_result"]) is not bool:
            return False
        stamps = headers["stamps"]
        # Joining refuses what is no text.
        return (stamps is None or type(stamps) is dict) and is_id(task_id) and bool("".join(_texts_of(headers)))
    except (KeyError, TypeError):
        return False


def check_headers(headers: Mapping[str, Any]) -> None:
    """Check the headers of a task message.

    Raises:
        InvalidTaskError: one is of the wrong type or out of bounds; says which, and what it should be.
    """
    global _last
    names, types = list(headers), list(map(type, headers.values()))
    if types != _last[1] or names != _last[0]:
        _check_types(headers)
        if len(names) <= 64:
            _last = (names, types)
    get = headers.get
    task_id = headers["id"]
    if not task_id or len(task_id) > LONGEST_ID or not task_id.isprintable():
        raise _fault("id", task_id)
    limits = get("timelimit")
    if limits is not None and limits != _NO_LIMITS:
        _check_limits(limits)
    for name in _NAMES:
        value = get(name)
        if value is not None and value != task_id and (len(value) > LONGEST_ID or not value.isprintable()):
            raise InvalidTaskError(
                f"the header {name!r} is a printable text of at most {LONGEST_ID} characters, not {_shown(value)}"
            )
    for name in _COUNTS:
        value = get(name)
        if value and not 0 < value <= _MOST:
            raise InvalidTaskError(f"the header {name!r} is a number from 0 to {_MOST}, not {_shown(value)}")
    stamped = get("stamped_headers")
    if stamped and any(type(name) is not str for name in stamped):
        raise _fault("stamped_headers", stamped)


def _check_types(headers: Mapping[str, Any]) -> None:
    if "id" not in headers:
        raise InvalidTaskError("the header 'id' is missing")
    for name, value in headers.items():
        expected = _TYPES.get(name)
        if expected is not None and type(value) not in expected[0]:
            raise _fault(name, value)


def _check_limits(limits: Any) -> None:
    if len(limits) != 2:
        raise _fault("timelimit", limits)
    for limit in limits:
        if limit is None:
            continue
        if not isinstance(limit, int | float) or isinstance(limit, bool) or not 0 <= limit <= LONGEST_LIMIT:
            raise InvalidTaskError(
                f"a time limit is a number of seconds from 0 to {LONGEST_LIMIT:g} or null, not {_shown(limit)}"
            )


def _fault(name: str, value: Any) -> InvalidTaskError:
    return InvalidTaskError(f"the header {name!r} is {_TYPES[name][1]}, not {_shown(value)}")


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {brief(value, 80)}"
