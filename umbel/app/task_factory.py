"""Makes tasks of functions and classes, and puts them into an app's registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from umbel.app.annotations import annotate
from umbel.app.loading import import_object
from umbel.app.registry import TaskRegistry
from umbel.app.retries import add_autoretry
from umbel.app.task import Task
from umbel.model.exceptions import AlreadyRegistered


class TaskFactory:
    """Makes the tasks of one app.

    Args:
        app: the app.
        tasks: its registry.
    """

    def __init__(self, app: Any, tasks: TaskRegistry) -> None:
        self._app = app
        self._tasks = tasks

    def builtin(self, name: str, function: Callable[..., Any], **options: Any) -> None:
        """Register one of the framework's own tasks, a function whose first argument is the app."""

        def run(self: Task, *args: Any, **kwargs: Any) -> Any:
            return function(self.app, *args, **kwargs)

        run.__doc__ = function.__doc__
        run.__module__ = function.__module__
        self.from_function(run, name=name, bind=True, typing=False, **options)

    def decorate(self, function: Callable[..., Any], options: dict[str, Any]) -> Any:
        """What ``@app.task(**options)`` makes of a function."""
        options = {key: value for key, value in options.items() if key not in ("lazy", "shared")}
        wrap = options.pop("filter", None)
        task = self.from_function(function, **options)
        return wrap(task) if wrap is not None else task

    def from_function(
        self,
        function: Callable[..., Any],
        *,
        name: str | None = None,
        base: Any = None,
        bind: bool = False,
        **options: Any,
    ) -> Task:
        """The task of a function, made when there is none of its name yet."""
        app = self._app
        name = name or self._app.gen_task_name(function.__name__, function.__module__)
        known = self._tasks.get(name)
        if known is not None:
            return known  # type: ignore[no-any-return]
        if isinstance(base, str):
            base = import_object(base)
        base = base or app.task_cls
        run = function
        bases: tuple[Any, ...] = (base,)
        pydantic_options = {key: options.pop(key) for key in list(options) if key.startswith("pydantic")}
        if pydantic_options.get("pydantic"):
            wrap = import_object("umbel.app.pydantic_task:validating")
            run = wrap(app, function, bound=bind, name=name, options=pydantic_options)
            bases = (import_object("umbel.app.pydantic_task:Dumping"), base)
            options["dump_arguments"] = staticmethod(run.dump_arguments)
        members = {
            "app": app,
            "name": name,
            "run": run if bind else staticmethod(run),
            "__doc__": function.__doc__,
            "__module__": function.__module__,
            "__annotations__": getattr(function, "__annotations__", {}),
            "__header__": staticmethod(function),
            **options,
        }
        kind = type(function.__name__, bases, members)
        task: Task = kind()
        if options.get("typing", getattr(base, "typing", True)) and self._app.strict_typing:
            task._checked = function, bind
        self._adopt(task, options)
        task.__name__ = function.__name__  # type: ignore[attr-defined]
        task.__qualname__ = function.__qualname__  # type: ignore[attr-defined]
        return task

    def _adopt(self, task: Task, options: dict[str, Any]) -> None:
        autoretry = options.get("autoretry_for") or getattr(task, "autoretry_for", ())
        if autoretry and not hasattr(task, "_unretried"):
            task._unretried = task.run  # type: ignore[attr-defined]
            task.run = add_autoretry(task, task.run, options)  # type: ignore[method-assign]
        app = self._app
        if app.finalized and app.conf.task_annotations is not None:
            annotate(task, app.conf.task_annotations)
        self._tasks[task.name] = task
        type(task).bind(app)

    def register(self, task: Any, options: dict[str, Any]) -> Task:
        """Register a task of a class that was written by hand. See ``Umbel.register_task``."""
        instance: Task = task() if isinstance(task, type) else task
        kind = type(instance)
        if not instance.name:
            instance.name = kind.name = self._app.gen_task_name(kind.__name__, kind.__module__)
        known = self._tasks.get(instance.name)
        if known is not None and type(known) is not kind:
            raise AlreadyRegistered(f"a task named {instance.name!r} is registered already: {type(known)!r}")
        kind.app = instance.app = self._app
        if instance.typing and self._app.strict_typing:
            instance._checked = instance.run, False
        self._adopt(instance, options)
        return instance
