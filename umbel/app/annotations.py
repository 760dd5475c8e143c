"""Annotations: settings that change attributes of tasks, ``task_annotations``."""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType
from typing import Any

from umbel.app.loading import import_object
from umbel_kernel.errors import ConfigurationError


class MapAnnotation(dict[str, Any]):
    """A mapping of task names, or ``*``, to mappings of attributes; for classes of one's own that say more."""

    def annotate_any(self) -> Mapping[str, Any] | None:
        """The attributes of every task."""
        found: Mapping[str, Any] | None = self.get("*")
        return found

    def annotate(self, task: Any) -> Mapping[str, Any] | None:
        """The attributes of this task, which come before those of every task."""
        found: Mapping[str, Any] | None = self.get(task.name)
        return found


def annotate(task: Any, annotations: Any) -> None:
    """Apply annotations to a task.

    Args:
        annotations: a mapping of task names, or ``*``, to mappings of attributes; an object with
            ``annotate(task)`` and ``annotate_any()``; the path of either; or a list of these.
            A function in place of one of the task's methods, such as ``on_failure``, is given the task first. An
            attribute that starts with ``@`` is a decorator of the task's method of that name.

    Raises:
        ConfigurationError: one of them is nothing of that kind.
    """
    for annotation in annotations if isinstance(annotations, list | tuple) else [annotations]:
        if isinstance(annotation, str):
            annotation = import_object(annotation)
        if isinstance(annotation, type):
            annotation = annotation()
        if isinstance(annotation, Mapping) and not hasattr(annotation, "annotate"):
            annotation = MapAnnotation(annotation)
        if not hasattr(annotation, "annotate"):
            raise ConfigurationError(f"task_annotations holds {annotation!r:.80}, which is no mapping of task names")
        everywhere = getattr(annotation, "annotate_any", lambda: None)
        for attributes in (everywhere(), annotation.annotate(task)):
            _apply(task, attributes or {})


def _apply(task: Any, attributes: Mapping[str, Any]) -> None:
    kind = type(task)
    for name, value in attributes.items():
        if name.startswith("@"):
            name = name[1:]
            value = staticmethod(value(getattr(task, name)))
        elif not (isinstance(value, FunctionType) and callable(getattr(kind, name, None))):
            setattr(task, name, value)
            continue
        # Methods belong to the class, which is the task's own: Python looks for some, as ``__call__``, nowhere else.
        setattr(kind, name, value)
        vars(task).pop(name, None)
    task._sender = None
