"""Attributes of an app that are made when they are first asked for, so that importing an app costs little."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from umbel.results.base import ResultBase

T = TypeVar("T")
R = TypeVar("R", bound="ResultBase")


class Part(Generic[T]):
    """A part of an app, one each.

    Args:
        make: makes it of the app.
    """

    def __init__(self, make: Callable[[Any], T]) -> None:
        self._make = make

    def __set_name__(self, owner: type[Any], name: str) -> None:
        self._name = name

    def __get__(self, app: Any, owner: Any = None) -> T:
        if app is None:
            return self  # type: ignore[return-value]
        with app._lock:
            # In the instance's own dict it is found before this descriptor, at no further cost.
            if self._name not in app.__dict__:
                app.__dict__[self._name] = self._make(app)
            found: T = app.__dict__[self._name]
            return found


class BoundClass(Generic[R]):
    """A class whose instances are the app's results.

    Args:
        look_up: tells the class of results that are nobody's.
    """

    def __init__(self, look_up: Callable[[], type[R]]) -> None:
        self._look_up = look_up

    def __get__(self, app: Any, owner: Any = None) -> type[R]:
        kind = self._look_up()
        if app is None:
            return kind
        members = {"_bound_app": app, "__module__": kind.__module__, "__doc__": kind.__doc__}
        made: type[R] = app.__dict__.setdefault(kind.__name__, type(kind.__name__, (kind,), members))
        return made
