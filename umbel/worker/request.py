"""A task that a worker has received, for classes of the user's own that hear what becomes of it: ``Task.Request``."""

from __future__ import annotations

import logging
import time
from typing import Any

from umbel.app.exception_info import ExceptionInfo
from umbel.app.loading import import_object
from umbel.app.outcome import Verdict
from umbel.model import states
from umbel.model.exceptions import RemoteError
from umbel_kernel.errors import ConfigurationError, TimeLimitExceeded
from umbel_kernel.spi.pool import Outcome

logger = logging.getLogger("umbel.worker.request")


class Request:
    """One received task. The ``on_`` methods are called in the worker's own process, by its loop, so they are quick.

    They only hear: results, acknowledgements and retries are seen to elsewhere, so none of them has to call ``super``.

    Args:
        held: the task as the worker holds it.
        app: the app.
    """

    def __init__(self, held: Any, app: Any) -> None:
        self._held = held
        self.app = app
        self.task = app.tasks[held.name]
        self.id: str = held.task_id
        self.name: str = held.name
        self.time_start: float | None = None

    @property
    def task_id(self) -> str:
        """The task's id."""
        return self.id

    @property
    def task_name(self) -> str:
        """The task's name."""
        return self.name

    @property
    def type(self) -> str:
        """The task's name, as its message has it."""
        return self.name

    @property
    def acknowledged(self) -> bool:
        """Whether its message is acknowledged."""
        return bool(self._held.acked)

    @property
    def message(self) -> Any:
        """Its message as it came."""
        return self._held.received

    @property
    def request_dict(self) -> dict[str, Any]:
        """Its message's headers."""
        headers: dict[str, Any] = self._held.job.headers
        return headers

    @property
    def body(self) -> bytes:
        """Its message's body, not decoded."""
        body: bytes = self._held.job.body
        return body

    @property
    def content_type(self) -> str:
        """The body's content type."""
        return str(self._held.job.content_type)

    @property
    def content_encoding(self) -> str:
        """The body's encoding."""
        return str(self._held.job.content_encoding)

    @property
    def delivery_info(self) -> dict[str, Any]:
        """How it came: ``exchange``, ``routing_key``, ``priority``, ``redelivered``."""
        info: dict[str, Any] = self._held.job.context["delivery_info"]
        return info

    def __getattr__(self, name: str) -> Any:
        # The rest of Celery's fields are the headers of their names.
        if name in _HEADERS:
            return self._held.job.headers.get(_HEADERS[name])
        raise AttributeError(f"a request has no {name!r}")

    def humaninfo(self) -> str:
        """The task for people."""
        return f"{self.name}[{self.id}]"

    def __str__(self) -> str:
        return self.humaninfo()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.humaninfo()}>"

    # What becomes of it

    def on_accepted(self, pid: int | None, time_accepted: float) -> None:
        """It has begun, or is known to have.

        Args:
            pid: None; which process of the pool has it is the pool's own affair.
            time_accepted: when, by the monotonic clock.
        """

    def on_success(self, failed__retval__runtime: tuple[bool, Any, float], **kwargs: Any) -> None:
        """It has succeeded.

        Args:
            failed__retval__runtime: False; its result in short, if the worker logs it; the seconds that it took.
        """

    def on_retry(self, exc_info: ExceptionInfo) -> None:
        """It will be run again, as it asked for."""

    def on_timeout(self, soft: bool, timeout: float | None) -> None:
        """It ran over its limit: a soft one that it did not catch, or a hard one.

        Args:
            timeout: the limit in seconds.
        """

    def on_failure(self, exc_info: ExceptionInfo, send_failed_event: bool = True, return_ok: bool = False) -> None:
        """It has failed, or its process was lost.

        Args:
            exc_info: bears the error; one that the task raised elsewhere as text, in a ``RemoteError``.
        """


_HEADERS = {
    "argsrepr": "argsrepr", "kwargsrepr": "kwargsrepr", "root_id": "root_id", "parent_id": "parent_id",
    "group": "group", "group_index": "group_index", "eta": "eta", "expires": "expires", "time_limits": "timelimit",
    "shadow": "shadow", "origin": "origin", "stamps": "stamps", "stamped_headers": "stamped_headers",
    "retries": "retries", "ignore_result": "ignore_result", "replaced_task_nesting": "replaced_task_nesting",
}  # fmt: skip


def request_class(task: Any) -> type[Request] | None:
    """The class of a task's requests; None when it has none of its own.

    Raises:
        ConfigurationError: it is no subclass of ``Request``.
    """
    kind = import_object(task.Request) if isinstance(task.Request, str) else task.Request
    if kind is None or kind is Request:
        return None
    if not (isinstance(kind, type) and issubclass(kind, Request)):
        raise ConfigurationError(f"{task.name}.Request, {kind!r}, is no subclass of umbel.worker.request.Request")
    return kind


def begun(request: Request) -> None:
    """Tell a request that its task has begun, once."""
    if request.time_start is None:
        request.time_start = time.monotonic()
        _call(request, "on_accepted", None, request.time_start)


def ended(request: Request, outcome: Outcome) -> None:
    """Tell a request what its task came to."""
    begun(request)
    if outcome.error is not None:
        if isinstance(outcome.error, TimeLimitExceeded):
            _call(request, "on_timeout", False, request._held.job.hard_limit)
        else:
            _call(request, "on_failure", ExceptionInfo(outcome.error))
        return
    _, _, state, seconds, text, verdict, _, _, traceback = outcome.value
    if state == states.SUCCESS:
        _call(request, "on_success", (False, text or None, seconds))
        return
    info = ExceptionInfo(RemoteError(text))
    info.traceback = traceback or info.traceback
    if state == states.RETRY:
        _call(request, "on_retry", info)
    elif state == states.FAILURE:
        if verdict == Verdict.TIMED_OUT.value:
            _call(request, "on_timeout", True, request._held.job.soft_limit)
        _call(request, "on_failure", info)


def _call(request: Request, name: str, *given: Any) -> None:
    try:
        getattr(request, name)(*given)
    except Exception:
        logger.exception("%r: its %s raised", request, name)
