"""What a chain and a group have in common: they hold tasks."""

from __future__ import annotations

from typing import Any

from umbel.canvas.parts import members_of
from umbel.canvas.signature import Signature, maybe_signature


class Composite(Signature):
    """A signature of the signatures in its ``tasks``."""

    of_items: bool = False
    """Whether it is made of items that may be any number: a list then, also when there is one or none."""

    @property
    def tasks(self) -> list[Any]:
        """The signatures in it."""
        return self["kwargs"]["tasks"]  # type: ignore[no-any-return]

    @tasks.setter
    def tasks(self, value: list[Any]) -> None:
        self["kwargs"]["tasks"] = value

    def _adopt(self) -> None:
        members = members_of(self["kwargs"].get("tasks") or (), f"a {self['subtask_type']}", wire=True)
        self.tasks = [maybe_signature(task, app=self._app) for task in members]

    def _owned(self) -> Any:
        return self.clone()

    def _separate(self) -> None:
        self._settled = None
        self.tasks = [maybe_signature(task, app=self._app, clone=True) for task in self.tasks]

    def _inner_app(self) -> Any:
        return next((task.app for task in self.tasks if isinstance(task, Signature)), None)

    def __bool__(self) -> bool:
        return True


def is_nothing(sig: Any) -> bool:
    """Whether it is a group or a chain without any task, however nested: it is passed over in chains and groups."""
    return (
        isinstance(sig, Composite) and not sig.of_items and all(is_nothing(maybe_signature(task)) for task in sig.tasks)
    )
