"""Runs a job where the pool wants it run: decode, build the request, trace, pack the outcome."""

from __future__ import annotations

import logging
from typing import Any

from umbel.app.outcome import TaskOutcome, Verdict
from umbel.app.tracer import Tracer
from umbel.model import states
from umbel.model.brief import brief
from umbel.model.exceptions import InvalidTaskError
from umbel.model.request import Context
from umbel.wire.inbound import read_body
from umbel_kernel.errors import ContentError, UmbelError
from umbel_kernel.spi.pool import Job

logger = logging.getLogger("umbel.app.trace")


class Runner:
    """Runs jobs of an app. Lives in each process that runs jobs; made before the fork, filled after.

    Args:
        app: the app.
        hostname: the worker's name, for the tasks' requests.
    """

    def __init__(self, app: Any, hostname: str) -> None:
        self.app = app
        self.hostname = hostname
        self._tracers: dict[str, Tracer] = {}

    def __call__(self, job: Job) -> tuple[Any, ...]:
        """Run one job. Returns a packed ``TaskOutcome``."""
        headers = job.headers
        try:
            args, kwargs, embed = self.read(job)
        except (ContentError, InvalidTaskError) as error:
            return self._undecodable(job, headers, error).pack()
        name: str = headers["task"]
        tracer = self._tracers.get(name)
        if tracer is None:
            tracer = self._tracers[name] = Tracer(self.app.tasks[name], self.app)
        request = self.request(job, headers, args, kwargs, embed)
        return tracer(request, args, kwargs).pack()

    def read(self, job: Job) -> tuple[Any, dict[str, Any], Any]:
        """The job's positional arguments, keyword arguments and embedded callbacks.

        Raises:
            ContentError: its body cannot be read, is not accepted, or is too large.
            InvalidTaskError: its body is no task's.
        """
        content = self.app.content
        body = job.body
        compression = job.headers.get("compression")
        if compression:
            body = content.decompress(body, compression)
        return read_body(content.loads(body, job.content_type, job.content_encoding))

    def request(self, job: Job, headers: dict[str, Any], args: Any, kwargs: Any, embed: Any) -> Context:
        """The request that the task sees."""
        request = Context()
        fields = request.__dict__
        fields.update(headers)
        fields.update(job.context)
        fields["args"] = args
        fields["kwargs"] = kwargs
        fields["called_directly"] = False
        fields["hostname"] = self.hostname
        fields["headers"] = _custom(headers)
        fields["retries"] = headers.get("retries") or 0
        fields["callbacks"] = embed.get("callbacks")
        fields["errbacks"] = embed.get("errbacks")
        fields["chain"] = embed.get("chain")
        fields["chord"] = embed.get("chord")
        fields["ignore_result"] = bool(headers.get("ignore_result"))
        return request

    def _undecodable(self, job: Job, headers: dict[str, Any], error: UmbelError) -> TaskOutcome:
        task_id, name = headers.get("id"), headers.get("task")
        outcome = TaskOutcome(
            str(task_id or ""), str(name or ""), states.FAILURE, 0.0, f"{type(error).__name__}: {error}", Verdict.DEAD
        )
        logger.error("Task %s[%s] cannot be read: %s", name, task_id, brief(error))
        if isinstance(task_id, str):
            request = Context(headers, **job.context)
            request.hostname = self.hostname
            try:
                outcome.record = self.app.backend.record(task_id, states.FAILURE, error, request=request)
            except UmbelError as problem:
                logger.error("cannot store the error of task %s[%s]: %s", name, task_id, problem)
        return outcome


_PROTOCOL = frozenset(
    [
        "lang",
        "task",
        "id",
        "shadow",
        "eta",
        "expires",
        "group",
        "group_index",
        "retries",
        "timelimit",
        "root_id",
        "parent_id",
        "argsrepr",
        "kwargsrepr",
        "origin",
        "ignore_result",
        "replaced_task_nesting",
        "stamped_headers",
        "stamps",
        "compression",
        "meth",
    ]
)


def _custom(headers: dict[str, Any]) -> dict[str, Any] | None:
    """The headers that are not the protocol's: those that the caller added."""
    if len(headers) <= 19 and headers.keys() <= _PROTOCOL:
        return None
    return {name: value for name, value in headers.items() if name not in _PROTOCOL}
