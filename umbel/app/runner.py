"""Runs a job where the pool wants it run: decode, build the request, trace, pack the outcome."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

from umbel.app.outbox import END_HEADER
from umbel.app.outcome import TaskOutcome, Verdict
from umbel.app.tracer import Tracer
from umbel.app.tracing import is_async, make_tracer
from umbel.canvas.signature import Signature
from umbel.model import states
from umbel.model.brief import brief
from umbel.model.exceptions import InvalidTaskError
from umbel.model.later import Later
from umbel.model.request import Context
from umbel.wire.inbound import read_body
from umbel_kernel.errors import ContentError, OperationalError, UmbelError
from umbel_kernel.spi.pool import Job, JobCoroutine

if TYPE_CHECKING:
    from umbel.app import async_tracer
else:
    async_tracer = Later("umbel.app.async_tracer")

logger = logging.getLogger("umbel.app.trace")
_new = object.__new__


class Runner:
    """Runs jobs of an app. Lives in each process that runs jobs; made before the fork, filled after.

    Args:
        app: the app.
        hostname: the worker's name, for the tasks' requests.
    """

    def __init__(self, app: Any, hostname: str) -> None:
        self.app = app
        self.hostname = hostname
        self.native = False
        """Whether the pool runs coroutines; set before the first job, as is what follows."""
        self.one_thread = False
        """Whether jobs run side by side in one thread, where only one event loop can turn."""
        self._tracers: dict[str, Tracer] = {}
        self._natives: dict[str, bool] = {}

    def __call__(self, job: Job) -> Any:
        """Run one job. Returns a packed ``TaskOutcome``; where ``native``, of a coroutine, a coroutine that does."""
        headers = job.headers
        try:
            args, kwargs, embed = self.read(job)
        except (ContentError, InvalidTaskError) as error:
            return self._undecodable(job, headers, error).pack()
        name: str = headers["task"]
        if END_HEADER in headers and not self._counts(headers):
            return self._second(headers).pack()
        tracer = self._tracers.get(name)
        if tracer is None:
            tracer = self._tracers[name] = make_tracer(
                self.app.tasks[name], self.app, native=self.native, one_thread=self.one_thread
            )
        request = self.request(job, headers, args, kwargs, embed)
        return tracer.packed(request, args, kwargs)

    def coroutine(self, job: Job) -> JobCoroutine | None:
        """For pools that run coroutines: one that runs a job, or None of a task that is none."""
        name = job.headers["task"]
        native = self._natives.get(name)
        if native is None:
            native = self._natives[name] = is_async(self.app.tasks[name])
        if not native:
            return None
        made: JobCoroutine = async_tracer.start(self, job, asks=END_HEADER in job.headers)
        return made

    def interrupt(self, job_id: int, error: Exception) -> bool:
        """See ``PoolOptions.interrupt``: whether a job runs as a coroutine in its slot's loop, and is told there."""
        loops = sys.modules.get("umbel.app.slot_loop")
        return loops is not None and bool(loops.interrupt(job_id, error))

    def close(self) -> None:
        """After the last job in this process: close the slots' loops."""
        loops = sys.modules.get("umbel.app.slot_loop")
        if loops is not None:
            loops.close_all()

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
        return read_body(content.loads(body, job.content_type, job.content_encoding), Signature.TYPES)

    def request(self, job: Job, headers: dict[str, Any], args: Any, kwargs: Any, embed: Any) -> Context:
        """The request that the task sees."""
        request: Context = _new(Context)
        get, context = embed.get, job.context
        request.__dict__ = {
            **headers,
            **context,
            "running_job": job,
            "args": args,
            "kwargs": kwargs,
            "called_directly": False,
            "hostname": self.hostname,
            "headers": None if "headers" in context else _custom(headers),
            "retries": headers.get("retries") or 0,
            "callbacks": get("callbacks"),
            "errbacks": get("errbacks"),
            "chain": get("chain"),
            "chord": get("chord"),
            "ignore_result": bool(headers.get("ignore_result")),
        }
        return request

    def _counts(self, headers: dict[str, Any]) -> bool:
        """Whether the body of a chord is the one to run: a header's last member that came twice may have sent two."""
        group_id, _, run = str(headers[END_HEADER]).rpartition("/")
        try:
            return bool(self.app.backend.end_chord(group_id, run))
        except UmbelError as error:
            # Running it is safer than not: a second one is rare, and its result is as good. A worker without the store
            # of the header cannot ask, which is no news.
            level = logging.WARNING if isinstance(error, OperationalError) else logging.DEBUG
            logger.log(
                level, "cannot see whether task %s[%s] was sent twice: %s", headers["task"], headers["id"], error
            )
            return True

    def _second(self, headers: dict[str, Any]) -> TaskOutcome:
        name, task_id = headers["task"], headers["id"]
        logger.info("Task %s[%s] was sent twice for one chord, and the other one runs", name, task_id)
        return TaskOutcome(task_id, name, states.IGNORED, text="sent twice")

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
