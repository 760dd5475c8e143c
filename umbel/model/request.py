"""The request: all that a running task can know of its own call."""

from __future__ import annotations

from typing import Any


class Context:
    """A task's request, with Celery's field names.

    A field that was not given answers with its default; a name that is no field answers with None
    through ``get`` and raises AttributeError otherwise.
    """

    logfile: Any = None
    loglevel: Any = None
    hostname: str | None = None
    id: str | None = None
    task: str | None = None
    args: Any = None
    kwargs: Any = None
    retries: int = 0
    eta: str | None = None
    expires: Any = None
    is_eager: bool = False
    headers: Any = None
    delivery_info: Any = None
    delivery_fence: int = 0
    reply_to: str | None = None
    shadow: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    correlation_id: str | None = None
    taskset: str | None = None
    group: str | None = None
    group_index: int | None = None
    chord: Any = None
    chain: Any = None
    utc: bool | None = None
    called_directly: bool = True
    callbacks: Any = None
    errbacks: Any = None
    timelimit: Any = None
    origin: str | None = None
    properties: Any = None
    ignore_result: bool = False
    replaced_task_nesting: int = 0
    stamped_headers: Any = None
    stamps: Any = None
    argsrepr: str | None = None
    kwargsrepr: str | None = None
    lang: str | None = None
    outgoing: Any = None
    running_job: Any = None
    added: int = 0
    _children: list[Any] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.update(*args, **kwargs)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Set fields, as ``dict.update`` would."""
        self.__dict__.update(*args, **kwargs)

    def clear(self) -> None:
        """Back to the defaults."""
        self.__dict__.clear()

    def get(self, key: str, default: Any = None) -> Any:
        """A field, or the default when there is none of that name."""
        return getattr(self, key, default)

    def __repr__(self) -> str:
        return f"<Context: {vars(self)!r}>"

    @property
    def children(self) -> list[Any]:
        """The results of the tasks that this one has sent."""
        if self._children is None:
            self._children = []
        return self._children

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants this run any more: it was revoked or terminated, or the worker ends at once."""
        return self.running_job is not None and bool(self.running_job.cancelled)

    @property
    def time_limit(self) -> float | None:
        """Seconds until this task is killed, or None."""
        return self.timelimit[0] if self.timelimit else None

    @property
    def soft_time_limit(self) -> float | None:
        """Seconds until ``SoftTimeLimitExceeded`` is raised in this task, or None."""
        return self.timelimit[1] if self.timelimit else None

    def as_execution_options(self) -> dict[str, Any]:
        """The options with which to send the same call again."""
        limit_hard, limit_soft = self.timelimit or (None, None)
        options = {
            "task_id": self.id,
            "root_id": self.root_id,
            "parent_id": self.parent_id,
            "group_id": self.group,
            "group_index": self.group_index,
            "shadow": self.shadow,
            "chord": self.chord,
            "chain": self.chain,
            "link": self.callbacks,
            "link_error": self.errbacks,
            "expires": self.expires,
            "soft_time_limit": limit_soft,
            "time_limit": limit_hard,
            "headers": self.headers,
            "retries": self.retries,
            "reply_to": self.reply_to,
            "replaced_task_nesting": self.replaced_task_nesting,
            "origin": self.origin,
        }
        if self.stamped_headers:
            options["stamped_headers"] = list(self.stamped_headers)
            options.update({name: (self.stamps or {}).get(name) for name in self.stamped_headers})
        return options
