"""Shared tasks: written once, a task of every app."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

from umbel.app.naming import task_name
from umbel.model.current import Proxy, get_current_app

_makers: list[Callable[[Any], Any]] = []
_apps: weakref.WeakSet[Any] = weakref.WeakSet()


def makers() -> list[Callable[[Any], Any]]:
    """What makes the shared tasks of an app."""
    return list(_makers)


def track(app: Any) -> None:
    """Note an app, so that it gets the shared tasks that are written after it was finalized."""
    _apps.add(app)


def shared_task(*args: Any, **options: Any) -> Any:
    """Make a task of a function for whichever app is current when it is used; a decorator, with or without options."""

    def decorate(function: Callable[..., Any]) -> Any:
        wanted = dict(options)
        for name in ("lazy", "shared"):
            wanted.pop(name, None)

        def make(app: Any) -> Any:
            return app.task_from_function(function, **wanted)

        _makers.append(make)
        for app in list(_apps):
            if app.finalized:
                make(app)

        def look_up() -> Any:
            app = get_current_app()
            name = wanted.get("name") or task_name(app.main, function.__name__, function.__module__)
            found = app.tasks.get(name)
            return found if found is not None else make(app)

        return Proxy(look_up)

    if len(args) == 1 and callable(args[0]):
        if getattr(args[0], "name", None) and hasattr(args[0], "apply_async"):
            raise TypeError(f"{args[0]!r} is a task already; remove one of its two decorators")
        return decorate(args[0])
    if args:
        raise TypeError("@shared_task takes no positional arguments but the function")
    return decorate
