"""Publishing: declare what is missing, hand over a batch, and try again within a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from umbel.app import outbox
from umbel.app.outbox import Outgoing
from umbel.model import signals
from umbel_kernel.errors import OperationalError, PublishError
from umbel_kernel.spi.broker import Broker
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue

BATCH = 500
_NO_POLICY: Mapping[str, Any] = {}


class Publisher:
    """Publishes an app's messages on the connection of this process.

    Args:
        app: the app.
        sleep: how to wait between attempts.
    """

    def __init__(self, app: Any, *, sleep: Callable[[float], None] = time.sleep) -> None:
        conf = app.conf
        self._app = app
        self._sleep = sleep
        self._deadline = float(conf.broker_publish_timeout)
        self._retry: bool = conf.task_publish_retry
        self._policy: Mapping[str, Any] = conf.task_publish_retry_policy or _NO_POLICY
        self._declared: tuple[Broker | None, set[str]] = (None, set())
        self._lock = threading.Lock()

    def publish(
        self,
        outgoing: Sequence[Outgoing],
        *,
        retry: bool | None = None,
        policy: Mapping[str, Any] | None = None,
        confirmed: bool = True,
    ) -> None:
        """Publish these in order; within ``outbox.gathering`` only gather them.

        Args:
            retry: whether to try again; by default ``task_publish_retry``.
            policy: ``max_retries`` and the seconds ``interval_start``, ``interval_step`` and
                ``interval_max`` between attempts; by default ``task_publish_retry_policy``.
            confirmed: return only when the broker has confirmed. Otherwise what it turns out not to have
                taken is sent again by a later call, or by ``Connections.close``.

        Raises:
            OperationalError: the broker did not take them within ``broker_publish_timeout`` seconds.
                The message has its URL with the password masked.
        """
        gathered = outbox.current()
        if gathered is not None:
            gathered.extend(outgoing)
            return
        if len(outgoing) <= BATCH:
            self._publish(outgoing, retry, policy, confirmed)
        else:
            for start in range(0, len(outgoing), BATCH):
                self._publish(outgoing[start : start + BATCH], retry, policy, confirmed)

    def _publish(
        self, outgoing: Sequence[Outgoing], retry: bool | None, policy: Mapping[str, Any] | None, confirmed: bool
    ) -> None:
        messages = [each.message for each in outgoing]
        try:
            broker = self._app.connections.broker()
            self._declare(broker, outgoing)
            if confirmed:
                broker.publish(messages, timeout=self._deadline)
            else:
                broker.post(messages, timeout=self._deadline)
        except OperationalError as error:
            left = self._still_own(error, messages)
            if not (self._retry if retry is None else retry):
                raise
            self._publish_again(outgoing, left, error, {**self._policy, **(policy or {})})

    def _still_own(self, error: OperationalError, messages: list[Message]) -> list[Message]:
        """Those of a call's own messages that were not taken. The others that an error names, posted by calls that
        have returned since, are kept for the next connection."""
        if not isinstance(error, PublishError):
            return messages
        own = {id(message) for message in messages}
        self._app.connections.keep([message for message in error.failed if id(message) not in own])
        return [message for message in error.failed if id(message) in own]

    def _publish_again(
        self, outgoing: Sequence[Outgoing], messages: list[Message], error: OperationalError, policy: Mapping[str, Any]
    ) -> None:
        end = time.monotonic() + self._deadline
        longest = policy.get("max_retries", 3)
        pause = float(policy.get("interval_start", 0) or 0)
        attempt = 0
        while longest is None or attempt < longest:
            attempt += 1
            self._app.connections.drop_current_broker()
            left = end - time.monotonic() - pause
            if left <= 0:
                break
            self._sleep(pause)
            pause = min(pause + float(policy.get("interval_step", 0.2)), float(policy.get("interval_max", 1)))
            try:
                broker = self._app.connections.broker()
                self._declare(broker, outgoing)
                broker.publish(messages, timeout=left)
                return
            except OperationalError as again:
                error = again
                messages = self._still_own(again, messages)
        raise error

    def _declare(self, broker: Broker, outgoing: Sequence[Outgoing]) -> None:
        known_broker, names = self._declared
        if known_broker is not broker:
            names = set()
            self._declared = (broker, names)
        missing: dict[str, Queue] = {
            each.queue.name: each.queue for each in outgoing if each.queue is not None and each.queue.name not in names
        }
        if missing:
            with self._lock:
                broker.declare(list(missing.values()), timeout=self._deadline)
                names.update(missing)

    def announce(self, name: str, outgoing: Outgoing, value: Any, policy: Mapping[str, Any] | None) -> None:
        """Send ``before_task_publish``, whose receivers may change the headers. Called only where somebody listens."""
        message = outgoing.message
        signals.before_task_publish.send(
            sender=name,
            body=value,
            exchange=message.exchange,
            routing_key=message.routing_key,
            declare=[outgoing.queue] if outgoing.queue is not None else [],
            headers=message.headers,
            properties=message.properties,
            retry_policy=dict(policy or self._policy),
        )

    def announced(self, name: str, outgoing: Outgoing, value: Any) -> None:
        """Send ``after_task_publish``."""
        message = outgoing.message
        signals.after_task_publish.send(
            sender=name,
            body=value,
            headers=message.headers,
            exchange=message.exchange,
            routing_key=message.routing_key,
        )
