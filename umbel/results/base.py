"""What every result is."""

from __future__ import annotations

from typing import Any, ClassVar


class ResultBase:
    """A handle on the outcome of one task or of several.

    Attributes:
        id: of the task or the group.
        parent: the result of what ran before it in a chain, or None.
        ignored: whether nothing is kept of it, so that waiting for it would not end.
    """

    id: Any = None
    parent: ResultBase | None = None
    ignored: bool = False
    _bound_app: ClassVar[Any] = None

    @classmethod
    def _unbound(cls) -> type:
        """The class that can be found by its name: not the one of an app."""
        return cls.__bases__[0] if "_bound_app" in vars(cls) else cls

    def as_tuple(self) -> Any:
        """Plain data from which ``result_from_tuple`` makes it again."""
        raise NotImplementedError

    def as_list(self) -> list[str]:
        """Its id and those of its parents."""
        raise NotImplementedError

    def forget(self) -> None:
        """Drop it from the store."""
        raise NotImplementedError

    def get(self, timeout: float | None = None, propagate: bool = True) -> Any:
        """Wait for the value."""
        raise NotImplementedError

    def ready(self) -> bool:
        """Whether it has come."""
        raise NotImplementedError
