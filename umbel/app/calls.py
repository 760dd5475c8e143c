"""Calls: from a task's name and arguments to a message on its way and a result to wait for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from umbel.app.outbox import Outgoing
from umbel.app.publisher import BATCH
from umbel.app.sender import Sender
from umbel.app.task import Task
from umbel.model import current, signals

_MOST_NAMES = 10_000


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
        policy = options.get("retry_policy")
        publisher = self._app.publisher
        announced = signals.before_task_publish._receivers or signals.after_task_publish._receivers
        if announced:
            publisher.announce(name, outgoing, (args, kwargs), policy)
        if self._app.has_reply_to:
            self._app.connections.backend().expect([task_id])
        publisher.publish([outgoing], retry=options.get("retry"), policy=policy, confirmed=False)
        if announced:
            publisher.announced(name, outgoing, (args, kwargs))
        result = (options.get("result_cls") or self._app.AsyncResult)(task_id)
        result.ignored = bool(outgoing.message.headers.get("ignore_result"))
        if request is not None and options.get("add_to_parent", True):
            parent = current.get_current_task()
            if parent is not None:
                parent.add_trail(result)
        return result

    def _as_child(self, request: Any, options: Mapping[str, Any]) -> dict[str, Any]:
        inherited: dict[str, Any] = {"root_id": request.root_id or request.id, "parent_id": request.id}
        given = {name: value for name, value in options.items() if value is not None}
        if request.stamped_headers and "stamped_headers" not in given:
            inherited["stamped_headers"] = list(request.stamped_headers)
            inherited.update(request.stamps or {})
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

    def send_many(self, calls: Sequence[tuple[str, Any, Any, Mapping[str, Any]]]) -> list[Any]:
        """Send many calls, in batches of few round trips. Returns their results in order.

        Args:
            calls: of each its task's name, args, kwargs and options; or signatures.

        Raises:
            OperationalError: the broker did not take all of them; those before may have been taken.
        """
        request = current.get_outermost_request()
        inside = request is not None and not request.called_directly
        parent = current.get_current_task() if inside else None
        results: list[Any] = []
        batch: list[Outgoing] = []
        for call in calls:
            if isinstance(call, Mapping):
                call = (call["task"], call.get("args"), call.get("kwargs"), call.get("options") or {})
            name, args, kwargs, options = call
            if inside:
                options = self._as_child(request, options)
            task_id, outgoing = self.sender_of(name).make(args, kwargs, options)
            if signals.before_task_publish._receivers:
                self._app.publisher.announce(name, outgoing, (args, kwargs), None)
            batch.append(outgoing)
            result = self._app.AsyncResult(task_id)
            result.ignored = bool(outgoing.message.headers.get("ignore_result"))
            results.append(result)
            if parent is not None and options.get("add_to_parent", True):
                parent.add_trail(result)
            if len(batch) >= BATCH:
                self._publish(batch)
                batch = []
        if batch:
            self._publish(batch)
        return results

    def _publish(self, batch: Sequence[Outgoing]) -> None:
        if self._app.has_reply_to:
            self._app.connections.backend().expect([str(outgoing.message.headers.get("id")) for outgoing in batch])
        self._app.publisher.publish(batch)
