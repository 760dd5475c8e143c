"""Tasks whose arguments and results are pydantic models. Imported for tasks that say ``pydantic=True``."""

from __future__ import annotations

import functools
import inspect
import itertools
import typing
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import BaseModel, TypeAdapter


class Dumping:
    """For a task class that takes models: those in a call's arguments are sent as plain data."""

    dump_arguments: Callable[[Any, Any], tuple[Any, Any]]

    def apply_async(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        """See ``Task.apply_async``."""
        args, kwargs = self.dump_arguments(args, kwargs)
        return super().apply_async(args, kwargs, *rest, **options)  # type: ignore[misc]

    def apply(self, args: Any = None, kwargs: Any = None, *rest: Any, **options: Any) -> Any:
        """See ``Task.apply``."""
        args, kwargs = self.dump_arguments(args, kwargs)
        return super().apply(args, kwargs, *rest, **options)  # type: ignore[misc]


def validating(
    app: Any, function: Callable[..., Any], *, bound: bool, name: str, options: Mapping[str, Any]
) -> Callable[..., Any]:
    """Wrap a function so that parameters annotated with models get models, and a model returned becomes plain data.

    What it returns has ``dump_arguments``, which makes plain data of the models for such parameters in a call.

    Args:
        options: ``pydantic_strict``, ``pydantic_context`` and ``pydantic_dump_kwargs``, as in Celery.
    """
    strict = bool(options.get("pydantic_strict", False))
    context = {"celery_app": app, "celery_task_name": name, **(options.get("pydantic_context") or {})}
    dump = {"mode": "json", **(options.get("pydantic_dump_kwargs") or {})}
    signature = inspect.signature(function)
    hints = typing.get_type_hints(function)
    adapters = {
        parameter: TypeAdapter(hints[parameter])
        for parameter in signature.parameters
        if parameter in hints and _is_model(hints[parameter])
    }

    def arguments(args: Any, kwargs: Any) -> inspect.BoundArguments:
        call = signature.bind(*args, **kwargs)
        for parameter, adapter in adapters.items():
            if parameter in call.arguments and not isinstance(call.arguments[parameter], BaseModel):
                call.arguments[parameter] = adapter.validate_python(
                    call.arguments[parameter], strict=strict, context=context
                )
        return call

    def dumped(value: Any) -> Any:
        return value.model_dump(**dump) if isinstance(value, BaseModel) else value

    @functools.wraps(function)
    def run_plain(*args: Any, **kwargs: Any) -> Any:
        call = arguments(args, kwargs)
        return dumped(function(*call.args, **call.kwargs))

    @functools.wraps(function)
    async def run_async(*args: Any, **kwargs: Any) -> Any:
        call = arguments(args, kwargs)
        return dumped(await function(*call.args, **call.kwargs))

    run: Any = run_async if inspect.iscoroutinefunction(function) else run_plain
    places = [name for name, each in signature.parameters.items() if each.kind is not each.KEYWORD_ONLY][int(bound) :]

    def plain(name: str | None, value: Any) -> Any:
        return (
            value.model_dump(mode="json", by_alias=True) if name in adapters and isinstance(value, BaseModel) else value
        )

    def dump_arguments(args: Any, kwargs: Any) -> tuple[Any, Any]:
        if isinstance(args, list | tuple):
            args = tuple(plain(name, value) for name, value in itertools.zip_longest(places[: len(args)], args))
        if isinstance(kwargs, Mapping):
            kwargs = {name: plain(name, value) for name, value in kwargs.items()}
        return args, kwargs

    run.dump_arguments = dump_arguments
    return run  # type: ignore[no-any-return]


def _is_model(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return True
    members = [member for member in typing.get_args(hint) if member is not type(None)]
    return len(members) == 1 and len(typing.get_args(hint)) == 2 and _is_model(members[0])
