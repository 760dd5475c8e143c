"""Tasks whose process was lost, killed for running too long, or ended on request."""

from __future__ import annotations

import functools
import logging
import signal
from collections.abc import Callable
from typing import Any

from umbel.app import outbox
from umbel.app.exception_info import ExceptionInfo
from umbel.app.outbox import Outgoing
from umbel.app.outcome import TaskOutcome, Verdict
from umbel.app.runner import Runner
from umbel.app.tracer import overrides
from umbel.canvas import follow_up
from umbel.model import signals, states
from umbel.model.exceptions import Retry, TaskRevokedError
from umbel.model.request import Context
from umbel.worker.held import LOST_HEADER, Held, lost_times
from umbel.worker.refusing import Refusing
from umbel.worker.settling import Settling
from umbel_kernel.errors import OperationalError, Terminated, TimeLimitExceeded, UmbelError, WorkerLostError
from umbel_kernel.spi.message import Message

logger = logging.getLogger("umbel.worker.request")


class Lost:
    """Settles tasks that ended without an outcome of their own.

    Args:
        app: the app.
        settling: does what follows.
        runner: reads a task's arguments.
        refusing: buries tasks that have taken too many workers with them.
    """

    def __init__(self, app: Any, settling: Settling, runner: Runner, refusing: Refusing) -> None:
        self._app = app
        self._runner = runner
        self._settling = settling
        self._refusing = refusing
        self._most: int | None = app.conf.task_worker_lost_limit or None

    @property
    def counts(self) -> bool:
        """Whether there is a limit to how many workers a task may take with it."""
        return self._most is not None

    def too_often(self, lost: int) -> bool:
        """Whether a task that took so many with it is not to run again."""
        return self._most is not None and lost >= self._most

    def settle(self, held: Held, error: Exception) -> None:
        """Deliver it again where its options say so, else let it fail with this error."""
        plan = held.plan
        if isinstance(error, WorkerLostError) and plan.retry_lost:
            if self._retry(held, error):
                return
            self._bury(held, error)
        elif plan.late and (
            (isinstance(error, WorkerLostError) and plan.requeue_lost)
            or (isinstance(error, TimeLimitExceeded) and not plan.ack_timed_out)
        ):
            lost = lost_times(held.job.headers) + 1
            if not self.too_often(lost):
                self._again(held, error, lost)
            elif isinstance(error, WorkerLostError):
                self.give_up(held, lost, error)
            else:
                self._bury(held, error)
                self._fail(held, error, Verdict.ACK)
            return
        self._fail(held, error, Verdict.TIMED_OUT if isinstance(error, TimeLimitExceeded) else Verdict.FAILED)

    def give_up(self, held: Held, lost: int, error: Exception | None = None) -> None:
        """Let a task fail that took so many workers or processes with it, and put it into the dead-letter queue."""
        what, how = ("processes", f"; the last one: {error}") if error is not None else ("workers or processes", "")
        said = f"task {held.name} was running when {lost} {what} ended, and is not run again{how}"
        ended = WorkerLostError(said)
        self._bury(held, ended)
        self._fail(held, ended, Verdict.ACK)

    def _bury(self, held: Held, error: Exception) -> None:
        if held.received is not None:
            self._refusing.bury(held.received, f"{type(error).__name__}: {error}")

    def _fail(self, held: Held, error: Exception, verdict: Verdict) -> None:
        state, stored = states.FAILURE, error
        if isinstance(error, Terminated):
            state, verdict, stored = states.REVOKED, Verdict.ACK, TaskRevokedError("terminated")
        logger.error("Task %s[%s] raised unexpected: %s", held.name, held.task_id, error)
        outcome = TaskOutcome(held.task_id, held.name, state, text=str(error), verdict=verdict, value=error)
        request = self._request(held)
        try:
            if not held.ignores_result:
                outcome.record = self._app.backend.record(held.task_id, state, stored, request=request)
        except UmbelError as problem:
            logger.error("cannot tell what became of task %s[%s]: %s", held.name, held.task_id, problem)
        self._follow(held, request, states.FAILURE, error, outcome)
        self._tell(held, request, error)
        self._settling.settle(held, outcome)

    def _tell(self, held: Held, request: Context, error: Exception) -> None:
        """Send the signal of a task's end, and call the handlers of one that was killed for taking too long."""
        task = self._app.tasks[held.name]
        if isinstance(error, Terminated):
            signals.task_revoked.send(
                sender=task, request=request, terminated=True, signum=_number(held.signal), expired=False
            )
            return
        einfo = ExceptionInfo(error)
        args, kwargs = request.args, request.kwargs
        if isinstance(error, TimeLimitExceeded):
            # Where it ran there is nobody left to call them.
            for name, given in (
                ("on_failure", (error, held.task_id, args, kwargs, einfo)),
                ("after_return", (states.FAILURE, error, held.task_id, args, kwargs, einfo)),
            ):
                if overrides(task, name):
                    self._call(held, getattr(task, name), given)
        signals.task_failure.send(
            sender=task,
            task_id=held.task_id,
            exception=error,
            args=args,
            kwargs=kwargs,
            traceback=einfo.tb,
            einfo=einfo,
        )

    def _call(self, held: Held, handler: Callable[..., Any], given: tuple[Any, ...]) -> None:
        try:
            handler(*given)
        except Exception:
            logger.exception("Task %s[%s]: its handler %r raised", held.name, held.task_id, handler)

    def revoked(self, held: Held, error: TaskRevokedError, *, expired: bool) -> None:
        """Note what follows from a task that is not run, because it was revoked or has expired."""
        request = self._request(held)
        signals.task_revoked.send(
            sender=self._app.tasks[held.name], request=request, terminated=False, signum=None, expired=expired
        )
        try:
            if not held.ignores_result:
                self._settling.store(self._app.backend.record(held.task_id, states.REVOKED, error, request=request))
        except UmbelError as problem:
            logger.error("cannot tell what became of task %s[%s]: %s", held.name, held.task_id, problem)
        request.errbacks = None
        self._follow(held, request, states.REVOKED, error, None)

    def _retry(self, held: Held, error: WorkerLostError) -> bool:
        """Retry a task whose process was lost. Returns False when it has no attempts left, or cannot be sent."""
        task, request = self._app.tasks[held.name], self._request(held)
        if request.args is None or (task.max_retries is not None and request.retries >= task.max_retries):
            return False
        retry = Retry(exc=error, when=task.default_retry_delay)
        outcome = TaskOutcome(held.task_id, held.name, states.RETRY, text=str(retry), value=retry)
        try:
            with outbox.gathering() as gathered:
                task.signature_from_request(
                    request, countdown=task.default_retry_delay, retries=request.retries + 1
                ).apply_async()
            if not held.ignores_result:
                outcome.record = self._app.backend.record(held.task_id, states.RETRY, error, request=request)
        except UmbelError as problem:
            logger.error("cannot retry task %s[%s], lost with its process: %s", held.name, held.task_id, problem)
            return False
        outcome.outgoing = gathered
        logger.warning("Task %s[%s] was lost with its process (%s): %s", held.name, held.task_id, error, retry)
        signals.task_retry.send(sender=task, request=request, reason=retry, einfo=ExceptionInfo(error))
        self._settling.settle(held, outcome)
        return True

    def _again(self, held: Held, error: Exception, lost: int) -> None:
        """Deliver it again, behind those that wait, with the count of what it took with it."""
        logger.warning(
            "Task %s[%s] took its process with it (%s); it is delivered again, attempt %d",
            held.name,
            held.task_id,
            error,
            lost + 1,
        )
        job, delivery = held.job, held.delivery
        queue = delivery.queue if delivery is not None else job.context["delivery_info"]["routing_key"]
        message = Message(
            job.body,
            queue,
            "",
            job.content_type,
            job.content_encoding,
            {**job.headers, LOST_HEADER: lost},
            held.task_id,
            job.context.get("reply_to"),
            job.context["delivery_info"].get("priority"),
        )
        self._settling.publish([Outgoing(message, self._app.queues[queue])])
        self._settling.ack(held)

    def _request(self, held: Held) -> Context:
        request = Context(held.job.headers, **held.job.context)
        request.update(
            called_directly=False, retries=held.job.headers.get("retries") or 0, hostname=self._runner.hostname
        )
        try:
            args, kwargs, embed = self._runner.read(held.job)
        except UmbelError as problem:
            logger.debug("the lost task's body cannot be read: %s", problem)
            return request
        request.update(
            args=args,
            kwargs=kwargs,
            errbacks=embed.get("errbacks"),
            chain=embed.get("chain"),
            chord=embed.get("chord"),
            ignore_result=bool(held.job.headers.get("ignore_result")),
        )
        return request

    def _follow(self, held: Held, request: Context, state: str, error: Exception, outcome: TaskOutcome | None) -> None:
        """Let what hangs on a task fail with it, as soon as the store is there; what is done is not done again."""
        follow = functools.partial(follow_up.follow_failure, self._app, request, error, None, wait=False)
        settle = functools.partial(follow_up.settle_chord, self._app, request, state, error, wait=False)
        for wanted, step in ((request.errbacks or request.chain, follow), (request.chord, settle)):
            if wanted:
                self._settling.defer(functools.partial(self._do, held, step, outcome))

    def _do(self, held: Held, step: Callable[[], None], outcome: TaskOutcome | None) -> None:
        try:
            with outbox.gathering() as gathered:
                step()
        except OperationalError:
            raise
        except UmbelError as problem:
            logger.error("cannot tell what became of task %s[%s]: %s", held.name, held.task_id, problem)
            return
        if outcome is not None:
            outcome.outgoing += gathered
        self._settling.publish(gathered)


def _number(name: str | None) -> int | None:
    """The number of a signal, as receivers of ``task_revoked`` get it."""
    if name is None:
        return None
    known = signal.Signals.__members__.get(f"SIG{name.upper().removeprefix('SIG')}")
    return known.value if known is not None else int(name) if name.isdigit() else None
