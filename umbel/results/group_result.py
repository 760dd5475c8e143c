"""The results of a group of tasks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from umbel.model.current import get_current_app
from umbel.results.result_set import ResultSet


class GroupResult(ResultSet):
    """The results of a group, in the order of its tasks.

    Args:
        id: the group's id.
        results: its members' results.
        parent: the result of what ran before the group in a chain.
        app: whose they are.
    """

    def __init__(
        self,
        id: str | None = None,
        results: Iterable[Any] | None = None,
        parent: Any = None,
        app: Any = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(results if results is not None else [], app=app, **kwargs)
        self.id = id
        self.parent = parent

    @property
    def children(self) -> list[Any]:
        """Its members' results."""
        return self.results

    def save(self, backend: Any = None) -> Any:
        """Keep the description of the group in the store, for ``restore``."""
        return (backend or self.backend).save_group(self.id, self)

    def delete(self, backend: Any = None) -> None:
        """Drop what ``save`` kept."""
        (backend or self.backend).delete_group(self.id)

    @classmethod
    def restore(cls, id: str, backend: Any = None, app: Any = None) -> Any:
        """A group's result that was saved, or None."""
        return (backend or (app or cls._bound_app or get_current_app()).backend).restore_group(id)

    def as_tuple(self) -> Any:
        """``((id, parent), [members])``."""
        return (self.id, self.parent and self.parent.as_tuple()), [result.as_tuple() for result in self.results]

    def as_list(self) -> list[Any]:
        """Its id and those of its parents."""
        ids = [self.id]
        if self.parent is not None:
            ids.extend(self.parent.as_list())
        return ids

    def __bool__(self) -> bool:
        return bool(self.id or self.results)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return bool(other.id == self.id and other.results == self.results and other.parent == self.parent)
        if isinstance(other, str):
            return other == str(self.id)
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __str__(self) -> str:
        return str(self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id} [{', '.join(str(result.id) for result in self.results)}]>"

    def __reduce__(self) -> tuple[Any, ...]:
        return self._unbound(), (self.id, self.results, self.parent)
