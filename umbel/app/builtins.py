"""The tasks that every app has, by Celery's names, as functions whose first argument is the app."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from umbel.model.current import get_current_task
from umbel.model.later import Later

if TYPE_CHECKING:
    from umbel import canvas
    from umbel.app import slot_loop, tracing
    from umbel.canvas import unlocking
else:
    slot_loop, tracing = Later("umbel.app.slot_loop"), Later("umbel.app.tracing")
    canvas, unlocking = Later("umbel.canvas"), Later("umbel.canvas.unlocking")


def backend_cleanup(app: Any) -> None:
    """Drop the results that have expired."""
    app.backend.cleanup()


def accumulate(app: Any, *args: Any, index: int | None = None, **kwargs: Any) -> Any:
    """Gather the results of a group: all arguments, or the one at ``index``."""
    return args if index is None else args[index]


def xmap(app: Any, task: Mapping[str, Any], it: Iterable[Any]) -> list[Any]:
    """Call a task with each item."""
    return _called(canvas.maybe_signature(task, app=app).type, ((item,) for item in it))


def xstarmap(app: Any, task: Mapping[str, Any], it: Iterable[Any]) -> list[Any]:
    """Call a task with the members of each item."""
    return _called(canvas.maybe_signature(task, app=app).type, it)


def _called(task: Any, calls: Iterable[Any]) -> list[Any]:
    """What a task returns to each of these arguments, one call after the other."""
    if not tracing.is_async(task):
        return [task(*given) for given in calls]

    async def in_turn() -> list[Any]:
        return [await task(*given) for given in calls]

    return slot_loop.run(in_turn())  # type: ignore[no-any-return]


def chunks(app: Any, task: Mapping[str, Any], it: Iterable[Any], n: int) -> Any:
    """Let parcels of a task's calls take the place of this one, so that its result is the list of theirs."""
    return get_current_task().replace(canvas.chunks(canvas.maybe_signature(task, app=app), it, n, app=app).group())


def group(
    app: Any, tasks: Iterable[Any], result: Any, group_id: str, partial_args: Any = (), add_to_parent: bool = True
) -> Any:
    """Send a group, as Celery's clients of long ago asked workers to."""
    members = [canvas.maybe_signature(task, app=app) for task in tasks]
    return canvas.group(members, app=app).apply_async(partial_args, task_id=group_id, add_to_parent=add_to_parent)


def chain(app: Any, *args: Any, **kwargs: Any) -> None:
    """Not a task to run: chains travel inside of their tasks' messages."""
    raise NotImplementedError("celery.chain is no task to run: send the chain, whose first task carries the others")


def chord(
    app: Any,
    header: Any,
    body: Any,
    partial_args: Any = (),
    interval: float | None = None,
    countdown: float = 1,
    max_retries: int | None = None,
    eager: bool = False,
    **options: Any,
) -> Any:
    """Send a chord, as Celery's clients of long ago asked workers to."""
    return canvas._chord(header, body=canvas.maybe_signature(body, app=app), app=app).apply_async(
        partial_args, interval=interval, max_retries=max_retries, **options
    )


def chord_unlock(app: Any, *args: Any, **kwargs: Any) -> None:
    """See ``unlocking.chord_unlock``."""
    unlocking.chord_unlock(app, *args, **kwargs)


BUILTIN_TASKS: dict[str, Callable[..., Any]] = {
    "celery.accumulate": accumulate,
    "celery.backend_cleanup": backend_cleanup,
    "celery.chain": chain,
    "celery.chord": chord,
    "celery.chord_unlock": chord_unlock,
    "celery.chunks": chunks,
    "celery.group": group,
    "celery.map": xmap,
    "celery.starmap": xstarmap,
}
"""By name."""

BUILTIN_OPTIONS: dict[str, dict[str, Any]] = {
    # Nobody looks at a chord but this one task, so it must not be lost.
    "celery.chord_unlock": {"acks_late": True, "ignore_result": True},
}
"""By name, where a task has other options than the app's defaults."""
