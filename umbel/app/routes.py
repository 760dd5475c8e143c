"""Which queue a task goes to: ``task_routes`` in all of Celery's forms."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Mapping
from typing import Any

from umbel.app.loading import import_object
from umbel.app.queues import Queues
from umbel_kernel.errors import ConfigurationError

Route = Callable[..., Any]


class MapRoute:
    """Routes by the task's name: exact names first, then glob patterns and regular expressions in order."""

    def __init__(self, table: Any) -> None:
        self.exact: dict[str, Any] = {}
        self.patterns: list[tuple[re.Pattern[str], Any]] = []
        for key, target in table.items() if isinstance(table, Mapping) else table:
            if isinstance(key, re.Pattern):
                self.patterns.append((key, target))
            elif "*" in key:
                self.patterns.append((re.compile(fnmatch.translate(key)), target))
            else:
                self.exact[key] = target

    def __call__(self, name: str, *_: Any, **__: Any) -> Any:
        found = self.exact.get(name)
        if found is not None:
            return dict(found) if isinstance(found, Mapping) else found
        for pattern, target in self.patterns:
            if pattern.match(name):
                return dict(target) if isinstance(target, Mapping) else target
        return None


def prepare(routes: Any) -> list[Route]:
    """The routers of a ``task_routes`` setting: a mapping, a list of pairs, a callable, a path, or a list of these.

    Raises:
        ConfigurationError: it is none of these.
    """
    if routes is None:
        return []
    given = list(routes) if isinstance(routes, list | tuple) else [routes]
    if given and all(isinstance(item, list | tuple) and len(item) == 2 for item in given):
        return [MapRoute(given)]
    return [_router(item) for item in given]


def _router(given: Any) -> Route:
    if isinstance(given, str):
        given = import_object(given)
    if isinstance(given, type):
        given = given()
    if isinstance(given, Mapping):
        return MapRoute(given)
    if isinstance(given, list | tuple):
        return MapRoute(given)
    if hasattr(given, "route_for_task"):
        return lambda name, args=None, kwargs=None, options=None, task=None: given.route_for_task(name, args, kwargs)
    if callable(given):
        return given  # type: ignore[no-any-return]
    raise ConfigurationError(
        f"task_routes holds {given!r:.80}; a route is a mapping, a list of pairs, a function, or the path of one"
    )


class Router:
    """Completes the options of a call with where the message goes."""

    def __init__(self, app: Any, queues: Queues, routes: Any) -> None:
        self._app = app
        self._queues = queues
        self.routes = prepare(routes)
        self._by_name = all(isinstance(route, MapRoute) for route in self.routes)

    def by_arguments(self, options: Mapping[str, Any]) -> bool:
        """Whether a route may decide by more than the task's name where a call with these options goes."""
        return not self._by_name and options.get("queue") is None and options.get("exchange") is None

    def route(
        self, options: Mapping[str, Any], name: str, args: Any = (), kwargs: Any = None, task: Any = None
    ) -> dict[str, Any]:
        """The options with ``queue`` (a ``Queue``, or None when an exchange was given) decided.

        What the caller said wins over what a route says.

        Raises:
            QueueNotFound: the queue is not known and may not be made.
        """
        merged = {key: value for key, value in options.items() if value is not None}
        if self.routes and "queue" not in merged and "exchange" not in merged:
            merged = {**self._ask(name, args, kwargs, options, task), **merged}
        queue = merged.get("queue")
        if isinstance(queue, str):
            merged["queue"] = self._queues[queue]
        elif queue is None and not merged.get("exchange"):
            merged["queue"] = self._queues[self._app.conf.task_default_queue]
        return merged

    def _ask(self, name: str, args: Any, kwargs: Any, options: Mapping[str, Any], task: Any) -> dict[str, Any]:
        for route in self.routes:
            answer = route(name, args, kwargs, options, task=task)
            if isinstance(answer, str):
                return {"queue": answer}
            if answer:
                return dict(answer)
        return {}
