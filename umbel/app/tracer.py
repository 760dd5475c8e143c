"""The tracer: runs one task and turns whatever happens into an outcome.

One is made for each task when it is first run in a process. What nobody uses (handlers that are not
overridden, signals without receivers, callbacks) costs an attribute look-up.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator
from time import perf_counter
from typing import Any, TypeAlias

from umbel.app import outbox
from umbel.app.exception_info import ExceptionInfo
from umbel.app.outcome import TaskOutcome, Verdict, pack_record
from umbel.app.task import Task
from umbel.canvas import follow_up
from umbel.model import current, signals, states
from umbel.model.brief import brief
from umbel.model.exceptions import Ignore, Reject, Replaced, Retry
from umbel.model.request import Context
from umbel_kernel.errors import JobInterrupted, TimeLimitExceeded, UmbelError
from umbel_kernel.spi.backend import Record

logger = logging.getLogger("umbel.app.trace")
_PRERUN, _SUCCESS, _POSTRUN = signals.task_prerun, signals.task_success, signals.task_postrun
_ACK = Verdict.ACK.value
_PASSED_ON = frozenset({states.IGNORED, states.REJECTED, states.RETRY})
"""States in which a task has not returned: as in Celery ``after_return`` is not called, ``task_postrun`` is sent."""

Steps: TypeAlias = Iterator[tuple[Callable[..., Any], tuple[Any, ...]]]
"""What is still to be called when a task has ended, in order: handlers with their arguments. Signals are sent, and
lines logged, between them."""

LONGEST_TRACEBACK = 10_000
"""Characters of the longest traceback that is logged whole. What is stored of it is whole."""


def overrides(task: Any, name: str) -> bool:
    """Whether a task has a handler of its own."""
    return getattr(type(task), name) is not getattr(Task, name) or name in vars(task)


def passes(error: BaseException) -> bool:
    """Whether an error is not the task's own, but meant for who runs it: a pool that ends the task, or Ctrl-C where
    that raises ``KeyboardInterrupt``, as in a shell. Whatever else a task raises lets it fail, ``SystemExit`` too.
    """
    if isinstance(error, Exception):
        return False
    if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
        return signal.getsignal(signal.SIGINT) is signal.default_int_handler or isinstance(error, JobInterrupted)
    return isinstance(error, JobInterrupted)


class Tracer:
    """Runs a task.

    Args:
        task: the task.
        app: its app.
        eager: run for a caller in the same process, which stores results itself, when the task says so.
    """

    def __init__(self, task: Any, app: Any, *, eager: bool = False) -> None:
        self.task = task
        self.app = app
        self.eager = eager
        self.name: str = task.name
        self.call: Callable[..., Any] = task if overrides(task, "__call__") else task.run
        self.before_start = task.before_start if overrides(task, "before_start") else None
        self.on_success = task.on_success if overrides(task, "on_success") else None
        self.after_return = task.after_return if overrides(task, "after_return") else None
        self.on_failure = task.on_failure
        self.on_retry = task.on_retry
        self.track_started: bool = bool(task.track_started) and not eager
        self.ignore_result: bool = bool(task.ignore_result)
        self.store_errors: bool = bool(task.store_errors_even_if_ignored)
        self.throws: tuple[type[BaseException], ...] = tuple(task.throws or ())
        self.longest: int = task.resultrepr_maxsize
        self.levels: int = app.conf.task_repr_maxlevels
        self.watched = bool(self.before_start or self.on_success or self.after_return or self.track_started)

    def __call__(self, request: Context, args: Any, kwargs: Any) -> TaskOutcome:
        """Run the task. Raises nothing but what is meant for who called it (see ``passes``)."""
        task, task_id = self.task, request.id or ""
        token = current.push_task(task, request)
        start = perf_counter()
        try:
            if self.track_started and not request.ignore_result:
                self._started(request)
            if signals.task_prerun._receivers:
                signals.task_prerun.send(sender=task, task_id=task_id, task=task, args=args, kwargs=kwargs)
            if self.before_start is not None:
                self.before_start(task_id, args, kwargs)
            value = self.call(*args, **kwargs)
            outcome, steps = self._succeeded(request, args, kwargs, value, start)
            self._take(request, steps)
        except BaseException as error:
            if passes(error):
                raise
            outcome = self._ended(request, args, kwargs, error, start)
        finally:
            current.pop_task(token)
        if request.outgoing:
            outcome.outgoing = [*request.outgoing, *outcome.outgoing]
        return outcome

    def packed(self, request: Context, args: Any, kwargs: Any) -> tuple[Any, ...]:
        """Run the task and return its outcome packed; does for a plain task only what such a one needs."""
        if (
            self.watched
            or _PRERUN._receivers
            or _SUCCESS._receivers
            or _POSTRUN._receivers
            or request.chain
            or request.callbacks
            or request.chord
            or logger.isEnabledFor(logging.INFO)
        ):
            return self(request, args, kwargs).pack()
        token = current.push_task(self.task, request)
        start = perf_counter()
        try:
            value = self.call(*args, **kwargs)
            seconds = perf_counter() - start
            record = None
            if not (self.ignore_result or request.ignore_result):
                record = pack_record(self._record(request, states.SUCCESS, value))
        except BaseException as error:
            if passes(error):
                raise
            outcome = self._ended(request, args, kwargs, error, start)
        else:
            if not request.outgoing:
                return (request.id or "", self.name, states.SUCCESS, seconds, "", _ACK, record, None, None)
            outcome = TaskOutcome(request.id or "", self.name, states.SUCCESS, seconds)
            outcome.record = None if record is None else Record(*record)
        finally:
            current.pop_task(token)
        if request.outgoing:
            outcome.outgoing = [*request.outgoing, *outcome.outgoing]
        return outcome.pack()

    def _ended(self, request: Context, args: Any, kwargs: Any, error: BaseException, start: float) -> TaskOutcome:
        """See to it that the task has raised an error. Raises what is at fault in here, after telling of it."""
        try:
            outcome, steps = self._raised(request, args, kwargs, error, start)
            self._take(request, steps)
        except Exception as fault:
            self._tell_fault(request, args, kwargs, fault)
            raise
        return outcome

    def _tell_fault(self, request: Context, args: Any, kwargs: Any, fault: Exception) -> None:
        """Send ``task_internal_error``: the task cannot be brought to an end, and the pool says so."""
        signals.task_internal_error.send(
            sender=self.task,
            task_id=request.id,
            args=args,
            kwargs=kwargs,
            request=request,
            exception=fault,
            traceback=fault.__traceback__,
            einfo=ExceptionInfo(fault, internal=True),
        )

    def _raised(
        self, request: Context, args: Any, kwargs: Any, error: BaseException, start: float
    ) -> tuple[TaskOutcome, Steps]:
        """What it comes to that the task has raised, and what is to be called for it."""
        if isinstance(error, Reject):
            outcome = self._rejected(request, error, start)
            return outcome, self._at_end(args, kwargs, outcome, None)
        if isinstance(error, Replaced):
            try:
                return self._succeeded(request, args, kwargs, error.value, start)
            except Exception as problem:
                return self._failed(request, args, kwargs, problem, start)
        if isinstance(error, Ignore):
            outcome = TaskOutcome(
                request.id or "", self.name, states.IGNORED, perf_counter() - start, str(error), value=error
            )
            self._log(logging.INFO, "Task %(name)s[%(id)s] ignored", outcome)
            return outcome, self._at_end(args, kwargs, outcome, None)
        if isinstance(error, Retry) and not request.called_directly:
            return self._retried(request, args, kwargs, error, start)
        return self._failed(request, args, kwargs, error, start)

    def _take(self, request: Context, steps: Steps) -> None:
        for handler, given in steps:
            self._guard(request, handler, *given)

    def _wants_record(self, request: Context, *, failed: bool = False) -> bool:
        if self.ignore_result or request.ignore_result:
            return failed and self.store_errors
        return True

    def _started(self, request: Context) -> None:
        meta = {"pid": os.getpid(), "hostname": request.hostname}
        try:
            self.app.backend.store_result(request.id, meta, states.STARTED, request=request)
        except UmbelError as error:
            logger.warning("cannot store that task %s[%s] has started: %s", self.name, request.id, error)

    def _succeeded(
        self, request: Context, args: Any, kwargs: Any, value: Any, start: float
    ) -> tuple[TaskOutcome, Steps]:
        outcome = TaskOutcome(request.id or "", self.name, states.SUCCESS, perf_counter() - start, value=value)
        if request.callbacks or request.chain or request.chord:
            with outbox.gathering() as gathered:
                follow_up.follow_success(self.app, request, value)
                if request.chord:
                    follow_up.settle_chord(self.app, request, states.SUCCESS, value)
            outcome.outgoing = gathered
        if self._wants_record(request):
            outcome.record = self._record(request, states.SUCCESS, value)
        if logger.isEnabledFor(logging.INFO):
            outcome.text = brief(value, self.longest, self.levels)
            self._log(logging.INFO, "Task %(name)s[%(id)s] succeeded in %(runtime)ss: %(return_value)s", outcome)
        return outcome, self._after_success(args, kwargs, outcome)

    def _after_success(self, args: Any, kwargs: Any, outcome: TaskOutcome) -> Steps:
        if self.on_success is not None:
            yield self.on_success, (outcome.value, outcome.task_id, args, kwargs)
        if signals.task_success._receivers:
            signals.task_success.send(sender=self.task, result=outcome.value, runtime=outcome.runtime)
        yield from self._at_end(args, kwargs, outcome, None)

    def _record(self, request: Context, state: str, value: Any, traceback: str | None = None) -> Record | None:
        record: Record | None = self.app.backend.record(request.id, state, value, traceback=traceback, request=request)
        return record

    def _failed(
        self, request: Context, args: Any, kwargs: Any, error: BaseException, start: float, *, chord: bool = True
    ) -> tuple[TaskOutcome, Steps]:
        einfo = ExceptionInfo(error)
        outcome = TaskOutcome(
            request.id or "",
            self.name,
            states.FAILURE,
            perf_counter() - start,
            brief(error, self.longest, self.levels),
            _failure_verdict(error),
            traceback=einfo.traceback,
            value=error,
        )
        if self._wants_record(request, failed=True):
            try:
                outcome.record = self._record(request, states.FAILURE, error, einfo.traceback)
                if not self.eager and (request.chain or (request.chord and chord)):
                    # Tasks that fail with this one are stored below; who hears of them finds this one failed too.
                    self.app.backend.store([outcome.record])
                    outcome.record = None
            except UmbelError as problem:
                logger.error("cannot store the error of task %s[%s]: %s", self.name, request.id, problem)
        with outbox.gathering() as gathered:
            self._guard(request, follow_up.follow_failure, self.app, request, error, einfo.traceback)
            if request.chord and chord:
                self._guard(request, follow_up.settle_chord, self.app, request, states.FAILURE, error)
        outcome.outgoing = gathered
        return outcome, self._after_failure(args, kwargs, outcome, einfo)

    def _after_failure(self, args: Any, kwargs: Any, outcome: TaskOutcome, einfo: ExceptionInfo) -> Steps:
        error = einfo.exception
        yield self.on_failure, (error, outcome.task_id, args, kwargs, einfo)
        if signals.task_failure._receivers:
            signals.task_failure.send(
                sender=self.task,
                task_id=outcome.task_id,
                exception=error,
                args=args,
                kwargs=kwargs,
                traceback=einfo.tb,
                einfo=einfo,
            )
        if isinstance(error, self.throws):
            self._log(logging.INFO, "Task %(name)s[%(id)s] raised expected: %(exc)s", outcome)
        else:
            self._log(logging.ERROR, "Task %(name)s[%(id)s] raised unexpected: %(exc)s\n%(traceback)s", outcome)
        yield from self._at_end(args, kwargs, outcome, einfo)
        einfo.tb = None

    def _retried(
        self, request: Context, args: Any, kwargs: Any, error: Retry, start: float
    ) -> tuple[TaskOutcome, Steps]:
        einfo = ExceptionInfo(error.exc if error.exc is not None else error)
        outcome = TaskOutcome(
            request.id or "",
            self.name,
            states.RETRY,
            perf_counter() - start,
            str(error),
            value=error,
            traceback=einfo.traceback,
        )
        if self._wants_record(request):
            reason = error.exc if error.exc is not None else error
            outcome.record = self._record(request, states.RETRY, reason, einfo.traceback)
        return outcome, self._after_retry(request, args, kwargs, outcome, error, einfo)

    def _after_retry(
        self, request: Context, args: Any, kwargs: Any, outcome: TaskOutcome, error: Retry, einfo: ExceptionInfo
    ) -> Steps:
        yield self.on_retry, (error.exc, outcome.task_id, args, kwargs, einfo)
        if signals.task_retry._receivers:
            signals.task_retry.send(sender=self.task, request=request, reason=error, einfo=einfo)
        self._log(logging.INFO, "Task %(name)s[%(id)s] retry: %(exc)s", outcome)
        yield from self._at_end(args, kwargs, outcome, einfo)

    def _rejected(self, request: Context, error: Reject, start: float) -> TaskOutcome:
        verdict = Verdict.REQUEUE if error.requeue else Verdict.REJECT
        outcome = TaskOutcome(
            request.id or "", self.name, states.REJECTED, perf_counter() - start, repr(error), verdict, value=error
        )
        self._log(logging.WARNING, "Task %(name)s[%(id)s] %(exc)s", outcome)
        return outcome

    def _at_end(self, args: Any, kwargs: Any, outcome: TaskOutcome, einfo: Any) -> Steps:
        if self.after_return is not None and outcome.state not in _PASSED_ON:
            yield self.after_return, (outcome.state, outcome.value, outcome.task_id, args, kwargs, einfo)
        if signals.task_postrun._receivers:
            signals.task_postrun.send(
                sender=self.task,
                task_id=outcome.task_id,
                task=self.task,
                args=args,
                kwargs=kwargs,
                retval=outcome.value,
                state=outcome.state,
            )

    def _guard(self, request: Context, handler: Callable[..., Any], *args: Any) -> None:
        """Call a handler after the task has ended: its error is logged and changes nothing."""
        try:
            handler(*args)
        except Exception:
            logger.exception("Task %s[%s]: its handler %r raised", self.name, request.id, handler)

    def _log(self, level: int, text: str, outcome: TaskOutcome) -> None:
        if logger.isEnabledFor(level):
            data = {
                "id": outcome.task_id,
                "name": self.name,
                "exc": outcome.text,
                "return_value": outcome.text,
                "runtime": outcome.runtime,
                "traceback": _cut(outcome.traceback),
                "state": outcome.state,
            }
            logger.log(level, text, data, extra={"data": data})


def _cut(traceback: str | None) -> str | None:
    """A traceback for the log: an error's message may be of any length."""
    if traceback is None or len(traceback) <= LONGEST_TRACEBACK:
        return traceback
    half = LONGEST_TRACEBACK // 2
    return f"{traceback[:half]}\n... {len(traceback) - 2 * half} characters left out ...\n{traceback[-half:]}"


def _failure_verdict(error: BaseException) -> Verdict:
    return Verdict.TIMED_OUT if isinstance(error, TimeLimitExceeded) else Verdict.FAILED
