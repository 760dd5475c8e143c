"""The classes of results that belong to an app: ``app.AsyncResult`` and its like."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from umbel.results.base import ResultBase

R = TypeVar("R", bound=ResultBase)


class BoundClass(Generic[R]):
    """An attribute of an app: a class whose instances are the app's results. It is made when it is first asked for.

    Args:
        kind: the class of results that are nobody's.
    """

    def __init__(self, kind: type[R]) -> None:
        self._kind = kind
        self._name = kind.__name__

    def __get__(self, app: Any, owner: Any = None) -> type[R]:
        if app is None:
            return self._kind
        kind = self._kind
        members = {"_bound_app": app, "__module__": kind.__module__, "__doc__": kind.__doc__}
        # In the instance's own dict it is found before this descriptor, at no further cost.
        made: type[R] = app.__dict__.setdefault(self._name, type(self._name, (kind,), members))
        return made
