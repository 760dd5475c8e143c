"""Errbacks: what was linked to a task for the case that it fails."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Iterable
from typing import Any

from umbel.canvas.signature import maybe_signature
from umbel_kernel.errors import OperationalError

logger = logging.getLogger(__name__)

_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def call_errbacks(app: Any, errbacks: Iterable[Any], request: Any, exc: BaseException, traceback: str | None) -> None:
    """Call or send the errbacks of a task that failed.

    One that is registered here and whose function takes more than one argument is called at once with the request,
    the error and the traceback. Any other, one that takes just the task's id, is bound to its task, or is known to
    other workers only, is sent with the task's id.

    Args:
        request: of the task that failed; ``id`` and ``root_id`` are used here.

    Raises:
        OperationalError: the broker or the store is away.
    """
    for errback in errbacks:
        sig = maybe_signature(errback, app=app, clone=True)
        if takes_more_than_an_id(app, sig):
            try:
                sig(request, exc, traceback)
            except Exception:
                # What a user's errback raises must not keep the others, or the worker, from going on.
                logger.exception("the errback %s of task %s raised an error", sig.task, request.id)
            continue
        send = sig.apply if getattr(request, "is_eager", False) else sig.apply_async
        try:
            send((request.id,), parent_id=request.id, root_id=getattr(request, "root_id", None) or request.id)
        except OperationalError:
            raise
        except Exception:
            logger.exception("the errback %s of task %s cannot be sent", sig, request.id)


def takes_more_than_an_id(app: Any, errback: Any) -> bool:
    """Whether an errback is called with the request, the error and the traceback."""
    task = app.tasks.get(errback.task)
    run = getattr(task, "run", None)
    if run is None or hasattr(run, "__self__"):
        return False
    try:
        parameters = list(inspect.signature(run).parameters.values())
    except (TypeError, ValueError):
        return False
    if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
        return True
    free = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
    if not errback.immutable:
        free = [parameter for parameter in free if parameter.name not in errback.kwargs]
        return len(free) - len(errback.args) > 1
    return len(free) > 1
