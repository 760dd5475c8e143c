"""The tracer of coroutines that a pool runs side by side in its event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from inspect import isawaitable
from time import perf_counter
from types import CoroutineType
from typing import Any

from umbel.app.outcome import TaskOutcome
from umbel.app.steered import SoftLimitReached, Steered
from umbel.app.tracer import Steps, Tracer, logger, passes
from umbel.model import current, signals
from umbel.model.request import Context
from umbel_kernel.errors import SoftTimeLimitExceeded


class AsyncTracer(Tracer):
    """Runs a task that is a coroutine function, as ``Tracer`` does another. Handlers may be coroutine functions, too.

    Each run has a context of its own, as each ``asyncio.Task`` has, so the current task and its request are right in it
    and in all that it starts. What talks to the store after the task goes to a thread, and does not hold up the loop.
    """

    def packed(self, request: Context, args: Any, kwargs: Any) -> Any:
        """A coroutine that runs the task and returns its outcome packed.

        It raises nothing but ``CancelledError``, when the ``asyncio.Task`` that runs it is cancelled, and what
        ``passes``.
        """
        return self._run(request, args, kwargs)

    async def _run(self, request: Context, args: Any, kwargs: Any) -> tuple[Any, ...]:
        task, task_id = self.task, request.id or ""
        # Never popped: the context ends with the coroutine.
        current.push_task(task, request)
        start = perf_counter()
        try:
            if self.track_started and not request.ignore_result:
                await asyncio.to_thread(self._started, request)
            if signals.task_prerun._receivers:
                signals.task_prerun.send(sender=task, task_id=task_id, task=task, args=args, kwargs=kwargs)
            if self.before_start is not None:
                value = self.before_start(task_id, args, kwargs)
                if isawaitable(value):
                    await value
            value = self.call(*args, **kwargs)
            # A ``__call__`` of the task's own may return whatever it likes.
            if type(value) is CoroutineType or isawaitable(value):
                value = await value
            if request.chord:
                outcome, steps = await asyncio.to_thread(self._succeeded, request, args, kwargs, value, start)
            else:
                outcome, steps = self._succeeded(request, args, kwargs, value, start)
            await self._take_async(request, steps)
        except GeneratorExit:
            raise
        except BaseException as error:
            if passes(error) or (isinstance(error, asyncio.CancelledError) and _is_cancelled(error)):
                raise
            try:
                outcome, steps = await self._ending(request, args, kwargs, own(error), start)
                await self._take_async(request, steps)
            except Exception as fault:
                self._tell_fault(request, args, kwargs, fault)
                raise
        if request.outgoing:
            outcome.outgoing = [*request.outgoing, *outcome.outgoing]
        return outcome.pack()

    async def _ending(
        self, request: Context, args: Any, kwargs: Any, error: BaseException, start: float
    ) -> tuple[TaskOutcome, Steps]:
        if request.chord or request.chain or request.errbacks:
            return await asyncio.to_thread(self._raised, request, args, kwargs, error, start)
        return self._raised(request, args, kwargs, error, start)

    async def _take_async(self, request: Context, steps: Steps) -> None:
        for handler, given in steps:
            await self._guard_async(request, handler, *given)

    async def _guard_async(self, request: Context, handler: Callable[..., Any], *args: Any) -> None:
        try:
            value = handler(*args)
            if isawaitable(value):
                await value
        except Exception:
            logger.exception("Task %s[%s]: its handler %r raised", self.name, request.id, handler)


def _is_cancelled(error: asyncio.CancelledError) -> bool:
    """Whether the pool has cancelled the run; else the task raised this itself, or its soft limit is up."""
    if isinstance(error, SoftLimitReached):
        return False
    running = asyncio.current_task()
    return running is not None and running.cancelling() > 0


def own(error: BaseException) -> BaseException:
    """What a task has raised, as it is told: a soft limit by the class that other pools raise."""
    if isinstance(error, SoftLimitReached):
        return SoftTimeLimitExceeded(*error.args).with_traceback(error.__traceback__)
    return error


def start(run: Callable[[Any], Any], job: Any, *, asks: bool) -> Steered:
    """Run a job in the event loop.

    Args:
        run: makes the outcome of a job that cannot be run, or else a coroutine that brings its outcome.
        asks: it asks the store first, so it goes to a thread.
    """
    return Steered(_start(run, job, asks))


async def _start(run: Callable[[Any], Any], job: Any, asks: bool) -> Any:
    made = await asyncio.to_thread(run, job) if asks else run(job)
    return made if type(made) is tuple else await made
