"""The calls that a task message carries along: its callbacks, errbacks, the rest of its chain, its chord.

They are checked before the task runs. Otherwise a task with a callback that nobody can send would have done its work,
and be told as failed.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from umbel.model.brief import brief
from umbel.model.exceptions import InvalidTaskError

DEEPEST = 100
"""How deeply signatures may stand in signatures."""

_NESTING = frozenset(("link", "link_error", "chain", "chord"))
_LISTS = ("callbacks", "errbacks", "chain")
_MEMBERS: tuple[tuple[str, type | tuple[type, ...], str], ...] = (
    ("args", (list, tuple), "a list"),
    ("kwargs", dict, "a mapping"),
    ("options", dict, "a mapping"),
    ("subtask_type", str, "a text"),
)


def check_embedded(embed: Mapping[str, Any], kinds: Container[str] | None = None, whose: str = "a task") -> None:
    """Check that each is a signature in form: a mapping with the name of a task, lists and mappings in their places.

    Whether the tasks are known is not asked: other workers may run them.

    Args:
        kinds: the kinds of signature (``subtask_type``) that can be sent from here; None for any.
        whose: the task, as errors name it.

    Raises:
        InvalidTaskError: one is none; says where it stands.
    """
    for name in _LISTS:
        value = embed.get(name)
        if value is not None:
            _Place(f"{whose}'s {name}", kinds).check_list(value, 0)
    chord = embed.get("chord")
    if chord is not None:
        _Place(f"{whose}'s chord", kinds).check(chord, 0)


def check_shape(value: Mapping[str, Any], where: str) -> None:
    """Check that a signature has the name of a task, and lists and mappings in their places; not what is in them.

    Raises:
        InvalidTaskError: it has not; begins with ``where``.
    """
    task = value.get("task")
    if type(task) is not str or not task:
        raise InvalidTaskError(f"{where}: a signature has the name of a task as its 'task', not {_shown(task)}")
    for member, types, said in _MEMBERS:
        found = value.get(member)
        if found is not None and not isinstance(found, types):
            raise InvalidTaskError(f"{where}: {member!r} of the signature of {task} is {said}, not {_shown(found)}")


class _Place:
    """Where in a message the signatures stand that are being checked."""

    __slots__ = ("_kinds", "_name")

    def __init__(self, name: str, kinds: Container[str] | None) -> None:
        self._name = name
        self._kinds = kinds

    def check_list(self, value: Any, depth: int) -> None:
        if not isinstance(value, list | tuple):
            raise InvalidTaskError(f"{self._name}: a list of signatures is expected, not {_shown(value)}")
        for member in value:
            if not _is_plain(member):
                self.check(member, depth)

    def check(self, value: Any, depth: int) -> None:
        if not isinstance(value, dict):
            raise InvalidTaskError(f"{self._name}: a signature is expected, not {_shown(value)}")
        if depth >= DEEPEST:
            raise InvalidTaskError(f"{self._name}: signatures nest deeper than {DEEPEST}, or one holds itself")
        check_shape(value, self._name)
        kind = value.get("subtask_type")
        if kind and self._kinds is not None and kind not in self._kinds:
            raise InvalidTaskError(f"{self._name}: {kind!r:.80} is no kind of signature")
        self._check_inside(value.get("options") or {}, value.get("kwargs") or {}, kind, depth + 1)

    def _check_inside(self, options: dict[str, Any], kwargs: dict[str, Any], kind: Any, depth: int) -> None:
        for member in ("link", "link_error", "chain"):
            found = options.get(member)
            if found is not None:
                self.check_list([found] if isinstance(found, dict) else found, depth)
        if options.get("chord") is not None:
            self.check(options["chord"], depth)
        if kind in ("chain", "group"):
            self.check_list(kwargs.get("tasks") or (), depth)
        elif kind == "chord":
            header, body = kwargs.get("header") or (), kwargs.get("body")
            self.check_list([header] if isinstance(header, dict) else header, depth)
            if body is not None:
                self.check(body, depth)


def _is_plain(value: Any) -> bool:
    """Whether it is in form and has no other in it, as nearly all in a long chain: told in a fraction of the time."""
    try:
        return (
            type(value["task"]) is str
            and value["task"] != ""
            and type(value["args"]) is list
            and type(value["kwargs"]) is dict
            and type(value["options"]) is dict
            and value["subtask_type"] is None
            and _NESTING.isdisjoint(value["options"])
        )
    except (KeyError, TypeError):
        return False


def _shown(value: Any) -> str:
    return f"{type(value).__name__} {brief(value, 80)}"
