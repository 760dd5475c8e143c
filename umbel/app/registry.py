"""The tasks of an app by name."""

from __future__ import annotations

from typing import Any

from umbel.model.exceptions import NotRegistered


class TaskRegistry(dict[str, Any]):
    """A dict of task instances that says clearly when one is missing."""

    NotRegistered = NotRegistered

    def __missing__(self, name: str) -> Any:
        raise NotRegistered(name)

    def register(self, task: Any) -> None:
        """Add a task, or the class of one."""
        if isinstance(task, type):
            task = task()
        self[task.name] = task

    def unregister(self, name: Any) -> None:
        """Remove a task by its name, class or instance.

        Raises:
            NotRegistered: it is not here.
        """
        try:
            self.pop(getattr(name, "name", name))
        except KeyError:
            raise NotRegistered(name) from None

    def regular(self) -> dict[str, Any]:
        """The tasks that are not periodic ones of old."""
        return self.filter_types("regular")

    def periodic(self) -> dict[str, Any]:
        """The tasks that are periodic ones of old."""
        return self.filter_types("periodic")

    def filter_types(self, kind: str) -> dict[str, Any]:
        """The tasks of a type."""
        return {name: task for name, task in self.items() if getattr(task, "type", "regular") == kind}
