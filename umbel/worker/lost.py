"""Tasks whose process was lost, killed for running too long, or ended on request."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from umbel.app import outbox
from umbel.app.outbox import Outgoing
from umbel.app.outcome import TaskOutcome, Verdict
from umbel.app.runner import Runner
from umbel.canvas import follow_up
from umbel.model import signals, states
from umbel.model.exceptions import TaskRevokedError
from umbel.model.request import Context
from umbel.worker.held import LOST_HEADER, Held
from umbel.worker.settling import Settling
from umbel_kernel.errors import OperationalError, Terminated, TimeLimitExceeded, UmbelError, WorkerLostError
from umbel_kernel.spi.message import Message

logger = logging.getLogger("umbel.worker.request")

MOST_LOST = 3


class Lost:
    """Settles tasks that ended without an outcome of their own."""

    def __init__(self, app: Any, settling: Settling, runner: Runner) -> None:
        self._app = app
        self._runner = runner
        self._settling = settling

    def settle(self, held: Held, error: Exception) -> None:
        """Deliver it again where its options say so, else let it fail with this error."""
        if isinstance(error, WorkerLostError) and self._again(held, error):
            return
        state, verdict = states.FAILURE, Verdict.FAILED
        stored: Exception = error
        if isinstance(error, Terminated):
            state, verdict, stored = states.REVOKED, Verdict.ACK, TaskRevokedError("terminated")
            signals.task_revoked.send(
                sender=self._app.tasks[held.name], request=held, terminated=True, signum=None, expired=False
            )
        elif isinstance(error, TimeLimitExceeded):
            verdict = Verdict.TIMED_OUT
        logger.error("Task %s[%s] raised unexpected: %s", held.name, held.task_id, error)
        outcome = TaskOutcome(held.task_id, held.name, state, text=str(error), verdict=verdict, value=error)
        request = self._request(held)
        try:
            if not held.ignores_result:
                outcome.record = self._app.backend.record(held.task_id, state, stored, request=request)
        except UmbelError as problem:
            logger.error("cannot tell what became of task %s[%s]: %s", held.name, held.task_id, problem)
        self._follow(held, request, states.FAILURE, error, outcome)
        signals.task_failure.send(
            sender=self._app.tasks[held.name],
            task_id=held.task_id,
            exception=error,
            args=request.args,
            kwargs=request.kwargs,
            traceback=None,
            einfo=None,
        )
        self._settling.settle(held, outcome)

    def revoked(self, held: Held, error: TaskRevokedError) -> None:
        """Note what follows from a task that is not run, because it was revoked or has expired."""
        request = self._request(held)
        try:
            if not held.ignores_result:
                self._settling.store(self._app.backend.record(held.task_id, states.REVOKED, error, request=request))
        except UmbelError as problem:
            logger.error("cannot tell what became of task %s[%s]: %s", held.name, held.task_id, problem)
        request.errbacks = None
        self._follow(held, request, states.REVOKED, error, None)

    def _again(self, held: Held, error: WorkerLostError) -> bool:
        plan = held.plan
        if not (plan.retry_lost or (plan.late and plan.requeue_lost is not False)):
            return False
        headers = held.job.headers
        count = headers.get(LOST_HEADER)
        count = count + 1 if isinstance(count, int) else 1
        if count >= MOST_LOST and not plan.requeue_lost:
            logger.error(
                "Task %s[%s] was lost with its process for the %d. time and is not run again: %s",
                held.name,
                held.task_id,
                count,
                error,
            )
            return False
        logger.warning(
            "Task %s[%s] was lost with its process (%s); it is delivered again, attempt %d",
            held.name,
            held.task_id,
            error,
            count + 1,
        )
        job, delivery = held.job, held.delivery
        queue = delivery.queue if delivery is not None else job.context["delivery_info"]["routing_key"]
        message = Message(
            job.body,
            queue,
            "",
            job.content_type,
            job.content_encoding,
            {**headers, LOST_HEADER: count},
            held.task_id,
            job.context.get("reply_to"),
            job.context["delivery_info"].get("priority"),
        )
        self._settling.publish([Outgoing(message, self._app.queues[queue])])
        self._settling.ack(held)
        return True

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
