"""What is wrong with a call that cannot be written: which argument of which task it is."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from umbel.model.later import Later
from umbel_kernel.errors import EncodeError

if TYPE_CHECKING:
    from umbel.canvas import parts, soundness
else:
    parts, soundness = Later("umbel.canvas.parts"), Later("umbel.canvas.soundness")


def named(codec: Any, serializer: str, task: str, content: Any, error: EncodeError) -> Exception:
    """The error that says what of a message's content could not be written, when all of it could not.

    Args:
        codec: what writes, with a method ``dumps``.
        task: the name of the task.
        content: args, kwargs, and what follows, as in protocol 2.
        error: why all of it could not be written.
    """
    try:
        return _named(codec, serializer, task, content, error)
    except RecursionError:
        return soundness.unsound({"task": task})


def _named(codec: Any, serializer: str, task: str, content: Any, error: EncodeError) -> Exception:
    args, kwargs, embed = content
    for what, value in _arguments(args, kwargs):
        problem = _problem(codec, serializer, value)
        if problem is not None:
            return _explained(f"{what} of {task}", problem)
    for name in ("callbacks", "errbacks", "chain", "chord"):
        for sig in parts.as_list(embed.get(name)):
            if not isinstance(sig, Mapping) or _problem(codec, serializer, sig) is None:
                continue
            knot: Exception = soundness.unsound(sig)
            if not isinstance(knot, RecursionError):
                return knot
            for inner in _all_of(sig):
                arguments = _arguments(inner.get("args") or (), inner.get("kwargs") or {})
                for what, value in itertools.chain(arguments, _options(inner.get("options") or {})):
                    problem = None if _holds_signatures(value) else _problem(codec, serializer, value)
                    if problem is not None:
                        return _explained(f"{what} of {inner.get('task')}, in the {name} of {task}", problem)
    return _explained(f"a call of {task}", error)


def _explained(what: str, error: EncodeError) -> EncodeError:
    explained = EncodeError(f"{what} cannot be sent: {error}")
    explained.__cause__ = error
    return explained


def _arguments(args: Any, kwargs: Any) -> Iterator[tuple[str, Any]]:
    yield from ((f"argument {place}", value) for place, value in enumerate(args))
    yield from ((f"argument {name!r}", value) for name, value in kwargs.items())


def _options(options: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    headers, stamps = options.get("headers"), options.get("stamped_headers") or ()
    if isinstance(headers, Mapping):
        yield from ((f"header {name!r}", value) for name, value in headers.items())
    yield from ((f"{'stamp' if name in stamps else 'option'} {name!r}", value) for name, value in options.items())


def _problem(codec: Any, serializer: str, value: Any) -> EncodeError | None:
    try:
        codec.dumps(value, serializer)
    except EncodeError as error:
        return error
    return None


def _all_of(sig: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """A signature and those inside of it, from the outside in."""
    yield sig
    for place in (sig.get("options"), sig.get("kwargs")):
        if isinstance(place, Mapping):
            for value in place.values():
                for inner in (value,) if isinstance(value, Mapping) else value if isinstance(value, list) else ():
                    if isinstance(inner, Mapping) and "task" in inner:
                        yield from _all_of(inner)


def _holds_signatures(value: Any) -> bool:
    members = value if isinstance(value, list | tuple) else (value,)
    return any(isinstance(member, Mapping) and "task" in member for member in members)
