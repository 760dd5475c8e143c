"""The tasks that every app has, by Celery's names, as functions whose first argument is the app."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from umbel.canvas.chord import _chord
from umbel.canvas.chunks import chunks as _chunks
from umbel.canvas.follow_up import fail_body, send_body
from umbel.canvas.group import group as _group
from umbel.canvas.signature import maybe_signature, signature
from umbel.model.brief import brief
from umbel.model.current import get_current_task
from umbel.model.exceptions import ChordError
from umbel.results.group_result import GroupResult
from umbel.results.joining import allow_join_result

_FOREVER = 2**31
"""More looks at a chord than can be taken: a task's own limit on retries is not meant for them."""


def backend_cleanup(app: Any) -> None:
    """Drop the results that have expired."""
    app.backend.cleanup()


def accumulate(app: Any, *args: Any, index: int | None = None, **kwargs: Any) -> Any:
    """Gather the results of a group: all arguments, or the one at ``index``."""
    return args if index is None else args[index]


def xmap(app: Any, task: Mapping[str, Any], it: Iterable[Any]) -> list[Any]:
    """Call a task with each item."""
    run = signature(task, app=app).type
    return [run(item) for item in it]


def xstarmap(app: Any, task: Mapping[str, Any], it: Iterable[Any]) -> list[Any]:
    """Call a task with the members of each item."""
    run = signature(task, app=app).type
    return [run(*item) for item in it]


def chunks(app: Any, task: Mapping[str, Any], it: Iterable[Any], n: int) -> Any:
    """Send a task's calls in parcels."""
    return _chunks.apply_chunks(maybe_signature(task, app=app), it, n, app=app)


def group(
    app: Any, tasks: Iterable[Any], result: Any, group_id: str, partial_args: Any = (), add_to_parent: bool = True
) -> Any:
    """Send a group, as Celery's clients of long ago asked workers to."""
    members = [maybe_signature(task, app=app) for task in tasks]
    return _group(members, app=app).apply_async(partial_args, task_id=group_id, add_to_parent=add_to_parent)


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
    return _chord(header, body=maybe_signature(body, app=app), app=app).apply_async(
        partial_args, interval=interval, max_retries=max_retries, **options
    )


def chord_unlock(
    app: Any,
    group_id: str,
    callback: Any,
    interval: float | None = None,
    max_retries: int | None = None,
    result: Iterable[Any] = (),
    **kwargs: Any,
) -> None:
    """Look whether a chord's header is complete, and send its body; if it is not, look again later.

    For result stores that cannot count.
    """
    header = GroupResult(group_id, [app.backend.result_from_tuple(member) for member in result], app=app)
    if not header.ready():
        again = app.conf.result_chord_retry_interval if interval is None else interval
        raise get_current_task().retry(countdown=again, max_retries=_FOREVER if max_retries is None else max_retries)
    # All is known by now, so nothing is waited for.
    with allow_join_result():
        try:
            values = header.join(timeout=0)
        except Exception as error:
            # Whatever a member raised: the error of a task, by its own class.
            failed = ChordError(f"a member of the header, group {group_id}, raised {brief(error, 500)}")
            failed.__cause__ = error
            fail_body(app, callback, failed)
            return
    send_body(app, callback, values)


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
