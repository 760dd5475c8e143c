"""Calls: from a task's name and arguments to a message on its way and a result to wait for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from umbel.app import outbox
from umbel.app.outbox import Outgoing
from umbel.app.publisher import BATCH
from umbel.app.sender import Sender
from umbel.app.task import Task
from umbel.model import current
from umbel.model.later import Later

if TYPE_CHECKING:
    from umbel import canvas
else:
    canvas = Later("umbel.canvas")

_MOST_NAMES = 10_000

Call = Mapping[str, Any] | tuple[str, Any, Any, Mapping[str, Any]]
"""A signature; or a task's name, args, kwargs and options."""


class Calls:
    """Sends the calls of one app."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._names: dict[str, Sender] = {}

    def forget(self) -> None:
        """Drop the compiled senders, for example after a fork."""
        self._names.clear()

    def send(self, name: str, args: Any, kwargs: Any, options: Mapping[str, Any], *, task: Task | None = None) -> Any:
        """Send one call. ``Task.apply_async`` and ``send_task`` end here."""
        sender = task.sender() if task is not None else self.sender_of(name)
        request = current.get_outermost_request()
        if request is not None and not request.called_directly:
            options = self._as_child(request, options)
        task_id, outgoing = sender.make(args, kwargs, options)
        # The app's own way to it asks for a function that makes one, each time.
        publisher = self._app._parts.get("publisher") or self._app.publisher
        announced = publisher.is_heard()
        if announced:
            publisher.announce(name, outgoing, (args, kwargs), options.get("retry_policy"))
        ignored = bool(outgoing.message.headers.get("ignore_result"))
        if not ignored and self._app.has_reply_to:
            self._app.connections.backend().expect([task_id])
        if options:
            publisher.post(outgoing, options.get("retry"), options.get("retry_policy"))
            result = (options.get("result_cls") or self._app.AsyncResult)(task_id)
        else:
            publisher.post(outgoing)
            result = self._app.AsyncResult(task_id)
        if announced:
            publisher.announced(name, outgoing, (args, kwargs))
        result.ignored = ignored
        if request is not None and options.get("add_to_parent", True):
            parent = current.get_current_task()
            if parent is not None:
                parent.add_trail(result)
        return result

    def _as_child(self, request: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        inherited: dict[str, Any] = {"root_id": request.root_id or request.id, "parent_id": request.id}
        given = {name: value for name, value in options.items() if value is not None}
        return {**inherited, **given}

    def sender_of(self, name: str) -> Sender:
        """The compiled sender of a task by its name, registered or not."""
        sender = self._names.get(name)
        if sender is None:
            task = self._app.tasks.get(name)
            if task is not None:
                return task.sender()  # type: ignore[no-any-return]
            if len(self._names) > _MOST_NAMES:
                self._names.clear()
            sender = self._names[name] = self._app.make_sender(name, {})
        return sender

    def send_many(self, calls: Iterable[Call]) -> list[Any]:
        """Send many calls, in batches of few round trips. Returns their results in order.

        Args:
            calls: signatures, also of whole workflows; or of each call its task's name, args, kwargs and options.

        Raises:
            TypeError: one is neither, or its arguments do not fit its task.
            EncodeError: the arguments of one cannot be serialised.
            OperationalError: the broker did not take all of them; those before may have been taken.
        """
        app = self._app
        if app.always_eager:
            return [self._signature(call).apply_async() for call in calls]
        request = current.get_outermost_request()
        inside = request is not None and not request.called_directly
        parent = current.get_current_task() if inside else None
        announces = app.publisher.is_heard()
        result_of, ways = app.AsyncResult, _Ways(self)
        results: list[Any] = []
        batch: list[Outgoing] = []
        values: list[Any] = []
        for call in calls:
            if len(batch) >= BATCH:
                self._publish(batch, values, last=False)
                batch, values = [], []
            if isinstance(call, dict):
                if call.get("subtask_type"):
                    results.append(self._gather(call, batch))
                    continue
                call = (call["task"], call.get("args"), call.get("kwargs"), call.get("options") or {})
            elif not isinstance(call, tuple | list):
                raise TypeError(f"what is sent is a signature, such as task.s(1), not {type(call).__name__}")
            name, args, kwargs, options = call
            make, check, alone = ways[name]
            if alone:
                results.append(self._gather(call, batch))
                continue
            if check is not None:
                check(*(args or ()), **(kwargs or {}))
            if inside:
                options = self._as_child(request, options)
            task_id, outgoing = make(args, kwargs, options)
            if announces:
                app.publisher.announce(name, outgoing, (args, kwargs), options.get("retry_policy"))
                values.append((name, outgoing, (args, kwargs)))
            batch.append(outgoing)
            result = (options.get("result_cls") or result_of)(task_id) if options else result_of(task_id)
            result.ignored = bool(outgoing.message.headers.get("ignore_result"))
            results.append(result)
            if parent is not None and options.get("add_to_parent", True):
                parent.add_trail(result)
        if batch:
            self._publish(batch, values)
        return results

    def _signature(self, call: Call) -> Any:
        """The signature of a call, whatever way it is given."""
        return canvas.maybe_signature(call if isinstance(call, dict) else canvas.Signature(*call), app=self._app)

    def _gather(self, call: Call, batch: list[Outgoing]) -> Any:
        """Send one in its own way, but put what it publishes into the batch; returns its result."""
        with outbox.gathering() as gathered:
            result = self._signature(call).apply_async()
        batch += gathered
        return result

    def _publish(self, batch: Sequence[Outgoing], announced: Sequence[Any], *, last: bool = True) -> None:
        """Publish these; with the last ones, wait until the broker has confirmed them all."""
        if self._app.has_reply_to:
            headers = [outgoing.message.headers for outgoing in batch]
            wanted = [str(each.get("id")) for each in headers if not each.get("ignore_result")]
            if wanted:
                self._app.connections.backend().expect(wanted)
        publisher = self._app.publisher
        publisher.publish(batch, confirmed=last)
        for name, outgoing, value in announced:
            publisher.announced(name, outgoing, value)


class _Ways(dict[str, Any]):
    """How the calls of each task of a batch become messages: what makes them, what checks their arguments, and whether
    the task does it in a way of its own, so that it has to be asked each time."""

    def __init__(self, calls: Calls) -> None:
        super().__init__()
        self._calls = calls

    def __missing__(self, name: str) -> tuple[Any, Any, bool]:
        task = self._calls._app.tasks.get(name)
        kind = type(task)
        alone = task is not None and (
            kind.apply_async is not Task.apply_async or kind.shadow_name is not Task.shadow_name
        )
        way = self[name] = (self._calls.sender_of(name).make, task._check if task is not None else None, alone)
        return way
