"""Eager runs: a task called in the caller's own process, on the same path as in a worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from umbel.app.header_check import check_headers
from umbel.app.outcome import TaskOutcome
from umbel.app.plan import EMBED_OPTIONS, HEADER_OPTIONS
from umbel.app.tracing import make_tracer
from umbel.app.unsent import named
from umbel.canvas.signature import Signature
from umbel.model import current, node, states
from umbel.model.brief import brief
from umbel.model.exceptions import Retry
from umbel.model.ids import uuid
from umbel.model.request import Context
from umbel.results.eager_result import EagerResult
from umbel.wire.inbound import read_body
from umbel.wire.task_message import header_template
from umbel_kernel.errors import EncodeError


class Eager:
    """Runs an app's tasks where they are called.

    Nothing is sent, and nothing stored unless ``task_store_eager_result`` says so. But arguments, callbacks and results
    go through the serializer, so that what could not travel fails here as it would there, and a tuple arrives as a
    list. An error stays the one that was raised, with its traceback.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    def run(self, task: Any, args: Any, kwargs: Any, *, throw: bool | None = None, **options: Any) -> EagerResult:
        """Run a task, and again as long as it asks for a retry. Returns its result; with ``throw`` re-raises its error.

        Raises:
            EncodeError: the arguments cannot be serialised.
            InvalidTaskError: a callback is no signature.
        """
        throw = self._app.conf.task_eager_propagates if throw is None else throw
        while True:
            result, value = self._once(task, args, kwargs, options)
            if result.state != states.RETRY or not isinstance(value, Retry) or value.sig is None:
                break
            args, kwargs, options = value.sig.args, value.sig.kwargs, dict(value.sig.options)
        if throw and result.state == states.FAILURE and isinstance(value, BaseException):
            raise value
        return result

    def _once(self, task: Any, args: Any, kwargs: Any, options: Mapping[str, Any]) -> tuple[EagerResult, Any]:
        app = self._app
        options = {**task.send_options(), **{name: value for name, value in options.items() if value is not None}}
        for name, value in (("argsrepr", tuple(args or ())), ("kwargsrepr", dict(kwargs or {}))):
            options.setdefault(name, brief(value, 1024, app.conf.task_repr_maxlevels))
        args, kwargs, embed = self._through(task, args, kwargs, options)
        request = self._request(task, args, kwargs, embed, options)
        # One for each run: settings and the task's attributes may have changed, in tests above all.
        outcome = make_tracer(task, app, eager=True)(request, args, kwargs)
        if outcome.outgoing:
            # What errbacks and handlers have sent while it was gathered.
            app.publisher.publish(outcome.outgoing)
        if outcome.record is not None and task.store_eager_result:
            app.backend.store([outcome.record])
        return self._result(task, request, outcome), outcome.value

    def _through(self, task: Any, args: Any, kwargs: Any, options: Mapping[str, Any]) -> tuple[Any, Any, Any]:
        """Arguments and callbacks as a worker would read them."""
        codec, serializer = self._app.content, options.get("serializer") or task.serializer
        embed = {name: options.get(option) or None for option, name in EMBED_OPTIONS.items()}
        for name in ("callbacks", "errbacks"):
            value = embed[name]
            if value is not None and (isinstance(value, Mapping) or not isinstance(value, list | tuple)):
                embed[name] = [value]
        content = (tuple(args or ()), dict(kwargs or {}), embed)
        try:
            body, content_type, encoding = codec.dumps(content, serializer)
        except EncodeError as error:
            raise named(codec, serializer, task.name, content, error) from error
        return read_body(codec.loads(body, content_type, encoding, accept=[serializer]), Signature.TYPES)

    def _request(self, task: Any, args: Any, kwargs: Any, embed: Any, options: Mapping[str, Any]) -> Context:
        parent = _parent()
        task_id = options.get("task_id") or uuid()
        headers = header_template(task.name, self._app.origin)
        for option, value in options.items():
            header = HEADER_OPTIONS.get(option)
            if header is not None:
                headers[header] = value
        headers["id"] = task_id
        headers["timelimit"] = [options.get("time_limit"), options.get("soft_time_limit")]
        stamped = options.get("stamped_headers")
        if stamped:
            headers["stamped_headers"] = list(stamped)
            headers["stamps"] = {name: options.get(name) for name in stamped}
            check_headers(task.name, "stamp", headers["stamps"])
        if parent is not None:
            headers["parent_id"] = headers["parent_id"] or parent.id
            headers["root_id"] = headers["root_id"] or parent.root_id
            if parent.stamped_headers and not stamped:
                headers["stamped_headers"], headers["stamps"] = list(parent.stamped_headers), dict(parent.stamps or {})
        headers["root_id"] = headers["root_id"] or task_id
        given = options.get("headers") or {}
        check_headers(task.name, "header", given)
        place = {name: options.get(name) for name in ("exchange", "routing_key", "priority")}
        return Context(
            {**headers, **given},
            **embed,
            args=args,
            kwargs=kwargs,
            is_eager=True,
            called_directly=False,
            hostname=node.hostname(),
            correlation_id=options.get("correlation_id") or task_id,
            reply_to=options.get("reply_to"),
            logfile=options.get("logfile"),
            loglevel=options.get("loglevel"),
            headers=dict(given),
            ignore_result=bool(headers["ignore_result"]),
            delivery_info={"is_eager": True, **place},
        )

    def _result(self, task: Any, request: Context, outcome: TaskOutcome) -> EagerResult:
        """What a worker's caller would read of it; of an ignored one, which nobody could read, its own value."""
        value = outcome.value
        result = EagerResult(request.id or "", value, outcome.state, traceback=outcome.traceback, name=task.name)
        result.ignored = request.ignore_result
        if outcome.record is not None:
            document = self._app.backend.read(outcome.record)
            if outcome.state != states.SUCCESS:
                document = replace(document, result=value)
            result.keep(replace(document, name=task.name))
        return result


def _parent() -> Context | None:
    """The request of the task that this is called in, if there is one; the nearest that is not a plain call."""
    found: Context | None = current.get_request(current.get_current_task())
    return found if found is None or not found.called_directly else current.get_outermost_request()
