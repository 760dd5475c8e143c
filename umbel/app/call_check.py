"""A check of a call's arguments against a function's signature, before the call is sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from umbel.model.later import Later

if TYPE_CHECKING:
    import inspect
else:
    inspect = Later("inspect")


class CallCheck:
    """The attribute of a task that checks its calls. It is made when the task is first called: many programs import
    tasks that they never call, and reading a signature takes longer than all else of making a task.
    """

    def __get__(self, task: Any, owner: Any = None) -> Callable[..., Any] | None:
        if task is None or task._checked is None:
            return None
        run, bound = task._checked
        # In the instance's own dict it is found before this descriptor, at no further cost.
        check: Callable[..., Any] | None = task.__dict__.setdefault("_check", call_check(run, bound=bound))
        return check


def call_check(run: Callable[..., Any], *, bound: bool) -> Callable[..., Any] | None:
    """A function that raises TypeError when called with what ``run`` could not be called with.

    None when ``run`` takes anything.
    """
    try:
        parameters = list(inspect.signature(run).parameters.values())
    except (TypeError, ValueError):
        return None
    if (
        bound
        and parameters
        and parameters[0].kind
        in (
            inspect.Parameter.POSITIONAL_ONLY,
            inspect.Parameter.POSITIONAL_OR_KEYWORD,
        )
    ):
        parameters = parameters[1:]
    kinds = {parameter.kind for parameter in parameters}
    if kinds == {inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD}:
        return None
    source, names = [], {"missing": object()}
    starred = False
    for parameter in parameters:
        text = parameter.name
        if parameter.kind is inspect.Parameter.VAR_POSITIONAL:
            text, starred = f"*{text}", True
        elif parameter.kind is inspect.Parameter.VAR_KEYWORD:
            text = f"**{text}"
        else:
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and not starred:
                source.append("*")
                starred = True
            if parameter.default is not inspect.Parameter.empty:
                text += "=missing"
        source.append(text)
    last_positional = [i for i, p in enumerate(parameters) if p.kind is inspect.Parameter.POSITIONAL_ONLY]
    if last_positional:
        source.insert(last_positional[-1] + 1, "/")
    name = getattr(run, "__name__", "task")
    name = name if name.isidentifier() else "task"
    # A function of the same parameters and no body binds arguments at C speed and words the TypeError as
    # Python does. The names come from the user's own function; none come off the wire.
    exec(f"def {name}({', '.join(source)}): pass", names)
    check: Callable[..., Any] = names[name]  # type: ignore[assignment]
    return check
