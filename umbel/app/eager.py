"""Eager runs: a task called in the caller's own process, on the same path as in a worker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from umbel.app.tracer import Tracer
from umbel.model import current, node
from umbel.model.exceptions import Retry
from umbel.model.ids import uuid
from umbel.model.request import Context
from umbel.results.eager_result import EagerResult


class Eager:
    """Runs an app's tasks where they are called."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._tracers: dict[str, Tracer] = {}

    def run(
        self,
        task: Any,
        args: Any,
        kwargs: Any,
        *,
        link: Any = None,
        link_error: Any = None,
        task_id: str | None = None,
        retries: int = 0,
        throw: bool | None = None,
        headers: Any = None,
        **options: Any,
    ) -> EagerResult:
        """Run a task. Returns its result; with ``throw`` re-raises its error."""
        throw = self._app.conf.task_eager_propagates if throw is None else throw
        args, kwargs = tuple(args or ()), dict(kwargs or {})
        task_id = task_id or uuid()
        parent = current.get_outermost_request()
        request = Context(
            id=task_id,
            task=task.name,
            args=args,
            kwargs=kwargs,
            retries=retries,
            is_eager=True,
            called_directly=False,
            hostname=node.hostname(),
            callbacks=_listed(link),
            errbacks=_listed(link_error),
            headers=dict(headers or {}),
            ignore_result=bool(options.get("ignore_result", False)),
            root_id=options.get("root_id") or (parent.root_id if parent is not None else None) or task_id,
            parent_id=options.get("parent_id") or (parent.id if parent is not None else None),
            group=options.get("group_id"),
            group_index=options.get("group_index"),
            chain=options.get("chain"),
            chord=options.get("chord"),
            delivery_info={
                "is_eager": True,
                "exchange": options.get("exchange"),
                "routing_key": options.get("routing_key"),
                "priority": options.get("priority"),
            },
            stamped_headers=options.get("stamped_headers"),
            stamps={name: options.get(name) for name in options.get("stamped_headers") or ()},
            replaced_task_nesting=options.get("replaced_task_nesting", 0),
        )
        tracer = self._tracers.get(task.name)
        if tracer is None or tracer.task is not task:
            tracer = self._tracers[task.name] = Tracer(task, self._app, eager=True)
        outcome = tracer(request, args, kwargs)
        if outcome.record is not None:
            self._app.load_backend().store([outcome.record])
        value: Any = outcome.value
        if isinstance(value, Retry) and value.sig is not None and outcome.state == "RETRY":
            result: EagerResult = value.sig.apply(throw=throw)
            return result
        if throw and outcome.state == "FAILURE" and isinstance(value, BaseException):
            raise value
        return EagerResult(task_id, value, outcome.state, traceback=outcome.traceback, name=task.name)


def _listed(links: Any) -> list[Any] | None:
    if links is None:
        return None
    return [links] if isinstance(links, Mapping) or not isinstance(links, list | tuple) else list(links)
