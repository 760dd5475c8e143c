"""Which tracer a task gets: one compiled for what the task is, so that plain tasks pay nothing for coroutines."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from umbel.app.tracer import Tracer
from umbel.model.later import Later

if TYPE_CHECKING:
    from umbel.app import async_tracer, slot_loop
else:
    async_tracer, slot_loop = Later("umbel.app.async_tracer"), Later("umbel.app.slot_loop")

_HANDLERS = ("call", "before_start", "on_success", "on_failure", "on_retry", "after_return")


def is_async(task: Any) -> bool:
    """Whether calling a task makes a coroutine."""
    return inspect.iscoroutinefunction(task.run) or inspect.iscoroutinefunction(type(task).__call__)


def may_be_async(task: Any) -> bool:
    """Whether a call may make a coroutine after all, since a decorator that is a plain function stands around one."""
    return is_async(task) or inspect.iscoroutinefunction(inspect.unwrap(task.run))


def make_tracer(task: Any, app: Any, *, eager: bool = False, native: bool = False, one_thread: bool = False) -> Tracer:
    """A tracer of a task.

    Args:
        eager: run for a caller in the same process.
        native: the pool runs coroutines in its event loop. Without it they run to their end in the slot's own loop, and
            so do handlers that are coroutine functions.
        one_thread: all slots are of one thread, and share one loop.
    """
    if native and is_async(task):
        made: Tracer = async_tracer.AsyncTracer(task, app)
        return made
    tracer = Tracer(task, app, eager=eager)
    for name in _HANDLERS:
        handler = getattr(tracer, name)
        if inspect.iscoroutinefunction(handler) or (name == "call" and may_be_async(task)):
            if one_thread:
                slot_loop.share()
            setattr(tracer, name, slot_loop.in_slot(handler))
    return tracer
