"""What is wrong with a workflow that cannot be walked through: it holds itself, or it nests too deeply."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from umbel.model.exceptions import InvalidTaskError
from umbel.wire.embedded import DEEPEST


def unsound(sig: Any) -> Exception:
    """The error for a workflow at which a RecursionError was met; asked for only then."""
    path: list[tuple[str, Mapping[str, Any]]] = [("", sig)]
    ahead = [_inside(sig)]
    on_path, done = {id(sig)}, set[int]()
    deepest = 0
    while ahead:
        found = next(ahead[-1], None)
        if found is None:
            ahead.pop()
            left = id(path.pop()[1])
            on_path.discard(left)
            done.add(left)
            continue
        inner = found[1]
        if id(inner) in on_path:
            return InvalidTaskError(f"{_said([*path, found], inner)}; use a copy, as clone() makes one")
        if id(inner) in done:
            continue
        path.append(found)
        on_path.add(id(inner))
        ahead.append(_inside(inner))
        deepest = max(deepest, len(path) - 1)
        if deepest > _ENOUGH:
            break
    if deepest > DEEPEST:
        return InvalidTaskError(
            f"the workflow of {_name(sig)} nests too deeply: at least {min(deepest, _ENOUGH)} in one another, "
            f"where no worker takes more than {DEEPEST}; put tasks side by side or in a row instead"
        )
    return RecursionError(f"the workflow of {_name(sig)} could not be walked through: the stack is nearly full")


_ENOUGH = 10_000


def _inside(sig: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The signatures right inside of one, with the names of their places."""
    for place in (sig.get("options"), sig.get("kwargs")):
        if not isinstance(place, Mapping):
            continue
        for name in _PLACES:
            value = place.get(name)
            members = (value,) if isinstance(value, Mapping) else value
            if isinstance(members, list | tuple):
                yield from ((name, member) for member in members if isinstance(member, Mapping) and "task" in member)


_PLACES = ("link", "link_error", "chain", "chord", "tasks", "header", "body", "task")


def _name(sig: Mapping[str, Any]) -> str:
    return f"{sig.get('task')!s:.200}"


def _said(path: list[tuple[str, Mapping[str, Any]]], again: Mapping[str, Any]) -> str:
    """The way from a signature to itself."""
    start = next(place for place, (_, sig) in enumerate(path) if sig is again)
    (_, first), *rest = path[start:]
    steps = [f"{where} of {_name(before)}" for (where, _), (_, before) in zip(rest, path[start:], strict=False)]
    return f"{_name(first)} holds itself as " + ", in ".join(reversed(steps[-8:]))
