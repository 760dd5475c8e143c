"""Annotations: settings that change attributes of tasks, ``task_annotations``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from umbel.app.loading import import_object
from umbel_kernel.errors import ConfigurationError


def annotate(task: Any, annotations: Any) -> None:
    """Apply annotations to a task.

    Args:
        annotations: a mapping of task names, or ``*``, to mappings of attributes; an object with
            ``annotate(task)`` and ``annotate_any()``; the path of either; or a list of these.
            An attribute that starts with ``@`` is a decorator of the task's method of that name.
    """
    for annotation in annotations if isinstance(annotations, list | tuple) else [annotations]:
        if isinstance(annotation, str):
            annotation = import_object(annotation)
        if isinstance(annotation, type):
            annotation = annotation()
        if isinstance(annotation, Mapping):
            found = [annotation.get("*"), annotation.get(task.name)]
        elif hasattr(annotation, "annotate"):
            everywhere = getattr(annotation, "annotate_any", lambda: None)
            found = [everywhere(), annotation.annotate(task)]
        else:
            raise ConfigurationError(f"task_annotations holds {annotation!r:.80}, which is no mapping of task names")
        for attributes in found:
            _apply(task, attributes or {})


def _apply(task: Any, attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        if name.startswith("@"):
            setattr(task, name[1:], value(getattr(task, name[1:])))
        else:
            setattr(task, name, value)
    task._sender = None
