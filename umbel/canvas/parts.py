"""What users and messages give for the parts of a workflow, and what is said when it is nothing of the kind."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from umbel.model.brief import brief
from umbel.model.exceptions import InvalidTaskError

FIELDS = frozenset(("task", "args", "kwargs", "options", "subtask_type", "immutable", "chord_size", "chord_sent"))
"""The members that the dict of a signature may have. Kinds that a user registers may have more."""

_KINDS = frozenset((None, "", "chain", "group", "chord", "xmap", "xstarmap", "chunks"))


def check_fields(data: dict[str, Any]) -> dict[str, Any]:
    """A dict that a caller gives as a signature, which may have no member that would be passed over.

    What comes in messages is not asked this, since a later Celery may put more there.

    Raises:
        InvalidTaskError: it has.
    """
    if not data.keys() <= FIELDS:
        kind = data.get("subtask_type")
        if kind is None or (isinstance(kind, str) and kind in _KINDS):
            unknown = ", ".join(sorted(f"{name!r:.80}" for name in data.keys() - FIELDS))
            raise InvalidTaskError(
                f"the signature of {data.get('task')!r:.200} has unknown members: {unknown}; "
                f"it may have {', '.join(sorted(FIELDS))}; what else is meant for its sending belongs in its options"
            )
    return data


def members_of(values: Any, whole: str, *, names: bool = False, wire: bool = False) -> list[Any]:
    """The members of a group, a chain or a chord's header, as they were given, in a list.

    Args:
        whole: what they are members of, as errors name it.
        names: whether tasks and their names may stand for signatures.
        wire: whether they come in a message, where members that are not known are passed over.

    Raises:
        TypeError: one is no signature, or there is nothing to go through.
        InvalidTaskError: one is a dict with unknown members.
    """
    if isinstance(values, str | bytes | Mapping) or not isinstance(values, Iterable):
        raise TypeError(f"{whole} is made of signatures, such as task.s(1), not of {shown(values)}")
    listed = list(values)
    for place, value in enumerate(listed):
        if isinstance(value, dict):
            if type(value) is dict and not wire:
                check_fields(value)
        elif not (names and (isinstance(value, str) or hasattr(value, "name"))):
            hint = "; call its s() for a signature" if hasattr(value, "s") else ""
            raise TypeError(
                f"{whole} is made of signatures, such as task.s(1), not of {shown(value)} (member {place}){hint}"
            )
    return listed


def callable_of(task: Any, whole: str) -> Any:
    """The signature that a map, starmap or chunks calls.

    Raises:
        TypeError: it is none.
    """
    if not isinstance(task, dict):
        raise TypeError(f"{whole} calls a signature, such as task.s(), not {shown(task)}")
    return task


def items_of(it: Any, whole: str) -> list[Any] | tuple[Any, ...]:
    """The items of a map, starmap or chunks.

    Raises:
        TypeError: there is nothing to go through.
    """
    if isinstance(it, list | tuple):
        return it
    if not isinstance(it, Iterable):
        raise TypeError(f"{whole} goes through a list or another iterable, not {shown(it)}")
    return list(it)


def as_list(value: Any) -> list[Any]:
    """None as an empty list, one value as a list of it, several as a list."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | tuple | set | frozenset) else [value]


def shorten(first: str, text: str) -> str:
    """A text in which the module of the task named first is not repeated after its first appearance."""
    prefix, dot, _ = first.rpartition(".")
    if not dot:
        return text
    head, found, rest = text.partition(prefix + dot)
    return head + found + rest.replace(prefix + dot, "")


def shown(value: Any) -> str:
    """A value with its type, for an error."""
    return f"{type(value).__name__} {brief(value, 80)}"
