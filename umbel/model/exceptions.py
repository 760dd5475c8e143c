"""The errors of the task framework, by Celery's names, beside those of the kernel."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from umbel_kernel.errors import (
    BackendError,
    ConfigurationError,
    JobInterrupted,
    NotSupported,
    OperationalError,
    SoftTimeLimitExceeded,
    Terminated,
    TimeLimitExceeded,
    UmbelError,
    WorkerLostError,
)

ImproperlyConfigured = ConfigurationError


class UmbelWarning(UserWarning):
    """Base of the warnings of this package."""


class AlwaysEagerIgnored(UmbelWarning):
    """``task_always_eager`` has no effect on ``send_task``, which sends a name and has no task to run."""


class TaskPredicate(UmbelError):
    """Raised by a task to say how it ends, other than by a result or an error."""


class Retry(TaskPredicate):
    """The task is to run again later.

    Attributes:
        message: what to log.
        exc: the error that made it retry, or None.
        when: seconds from now, or a point in time.
    """

    def __init__(
        self,
        message: str | None = None,
        exc: BaseException | None = None,
        when: float | datetime | None = None,
        is_eager: bool = False,
        sig: Any = None,
    ) -> None:
        self.message = message
        self.exc = exc
        self.when = when
        self.is_eager = is_eager
        self.sig = sig
        super().__init__(message, exc, when)

    def humanize(self) -> str:
        """When it runs again, in words."""
        if isinstance(self.when, int | float):
            return f"in {self.when}s"
        return f"at {self.when}"

    def __str__(self) -> str:
        if self.message:
            return self.message
        if self.exc is not None:
            return f"Retry {self.humanize()}: {self.exc!r}"
        return f"Retry {self.humanize()}"


class Ignore(TaskPredicate):
    """The task's outcome is not to be stored."""


class Replaced(Ignore):
    """An eager run has ended because another signature took its task's place.

    Attributes:
        value: what came of that one.
    """

    def __init__(self, value: Any) -> None:
        self.value = value
        super().__init__("Replaced by new task")


class Reject(TaskPredicate):
    """The task's message is to be rejected; with ``requeue`` it is delivered again."""

    def __init__(self, reason: Any = None, requeue: bool = False) -> None:
        self.reason = reason
        self.requeue = requeue
        super().__init__(reason, requeue)

    def __repr__(self) -> str:
        return f"reject requeue={self.requeue}: {self.reason}"


class TaskError(UmbelError):
    """Something is wrong with a task."""


class NotRegistered(KeyError, TaskError):
    """No task of this name is registered here."""

    def __repr__(self) -> str:
        return f"Task of name {self.args[0]!r} is not registered here; is the module that defines it in 'include'?"

    __str__ = __repr__


class AlreadyRegistered(TaskError):
    """Another task of this name is registered."""


class InvalidTaskError(TaskError):
    """A message is no task message, or its headers are of the wrong type."""


class QueueNotFound(KeyError, UmbelError):
    """A queue was named that ``task_queues`` does not have while ``task_create_missing_queues`` is off."""


class IncompleteStream(TaskError):
    """The end of a stream was found before all of it was read."""


class TimeoutError(TaskError):
    """A result did not come within the timeout. It may still come.

    Attributes:
        task_id: the first task whose result did not come; None when it was something else that took too long.
        state: that task's state at the end of the timeout; None when the store could not say.
    """

    def __init__(self, *args: Any, task_id: str | None = None, state: str | None = None) -> None:
        self.task_id = task_id
        self.state = state
        super().__init__(*args)


class MaxRetriesExceededError(TaskError):
    """A task was retried more often than ``max_retries``."""

    def __init__(self, *args: Any, task_args: Any = (), task_kwargs: Any = None) -> None:
        self.task_args = task_args
        self.task_kwargs = task_kwargs or {}
        super().__init__(*args)


class TaskRevokedError(TaskError):
    """The task was revoked, so it has no result."""


class ChordError(TaskError):
    """A member of a chord's header failed, so its body cannot run."""


class SecurityError(UmbelError):
    """A message's signature is missing or wrong."""


class WorkerTerminate(SystemExit):
    """Ends the worker at once."""


class WorkerShutdown(SystemExit):
    """Ends the worker in good order."""


class ColdShutdown(JobInterrupted, KeyboardInterrupt):
    """Raised in a task that runs in the main thread of a worker that ends at once."""


class RemoteError(UmbelError):
    """Stands in at the caller for an error whose class is not loaded here. Subclasses bear that class's name."""


__all__ = [
    "AlreadyRegistered",
    "AlwaysEagerIgnored",
    "BackendError",
    "ChordError",
    "ConfigurationError",
    "Ignore",
    "ImproperlyConfigured",
    "IncompleteStream",
    "InvalidTaskError",
    "MaxRetriesExceededError",
    "NotRegistered",
    "NotSupported",
    "OperationalError",
    "QueueNotFound",
    "Reject",
    "RemoteError",
    "Retry",
    "SecurityError",
    "SoftTimeLimitExceeded",
    "TaskError",
    "TaskPredicate",
    "TaskRevokedError",
    "Terminated",
    "TimeLimitExceeded",
    "TimeoutError",
    "UmbelError",
    "UmbelWarning",
    "WorkerLostError",
    "WorkerShutdown",
    "WorkerTerminate",
]
