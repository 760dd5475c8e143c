"""Publishing: declare what is missing, hand over a batch, and try again within a deadline."""

from __future__ import annotations

import copy
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from threading import get_ident
from typing import Any

from umbel.app import outbox
from umbel.app.outbox import Outgoing
from umbel.model import signals
from umbel.model.forking import renewed_in_child
from umbel_kernel.errors import BackendError, OperationalError, PublishError
from umbel_kernel.spi.broker import Broker
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue

logger = logging.getLogger(__name__)

BATCH = 500

FIRST = 0.6
"""Part of the deadline that the first attempt of a call may take when it may try again: a connection that has gone
stale answers nothing, and the rest is for making another."""

BELOW = 1.0
"""Seconds that a signal handler is held up for at most when it publishes while its thread is publishing."""

_LEAST = 0.1
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
        self._first = self._deadline * FIRST
        self._retry: bool = conf.task_publish_retry
        self._policy: Mapping[str, Any] = conf.task_publish_retry_policy or _NO_POLICY
        self._declared: tuple[Broker | None, set[str]] = (None, set())
        self._lock = renewed_in_child(self, "_lock", threading.Lock)

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
            policy: ``max_retries``, the seconds ``interval_start``, ``interval_step`` and ``interval_max`` between
                attempts, and ``retry_errors``, the classes of errors after which to try again, None for all; by
                default ``task_publish_retry_policy``.
            confirmed: return only when the broker has confirmed; otherwise as ``post``, for all batches but the last.

        Raises:
            OperationalError: the broker did not take them within ``broker_publish_timeout`` seconds.
                The message has its URL with the password masked. Or the result store is away, which has to be told of
                chords that begin.
        """
        gathered = outbox.current()
        if gathered is not None:
            gathered.extend(outgoing)
            return
        self.begin_chords(outgoing)
        if len(outgoing) <= BATCH:
            self._publish(outgoing, retry, policy, confirmed)
        else:
            for start in range(0, len(outgoing), BATCH):
                part = outgoing[start : start + BATCH]
                self._publish(part, retry, policy, confirmed and start + BATCH >= len(outgoing))

    def begin_chords(self, outgoing: Iterable[Outgoing]) -> None:
        """Tell the result store of the chords whose headers these begin, each once.

        Raises:
            OperationalError: it is away.
        """
        for each in outgoing:
            while each.begins:
                group_id, size = each.begins[0]
                try:
                    self._app.backend.begin_chord(group_id, size)
                except BackendError as error:
                    # That it refuses this is no reason to lose the header: its members say the same, and are told then.
                    logger.error("the store does not note that the chord of group %s begins: %s", group_id, error)
                each.begins = each.begins[1:]

    def post(self, outgoing: Outgoing, retry: bool | None = None, policy: Mapping[str, Any] | None = None) -> None:
        """Publish one message without waiting for its confirmation; see ``publish``.

        What turns out not to have been taken is sent again: by a later call, by ``Connections.close``, or by the
        ``Confirmer`` when no call comes.
        """
        gathered = outbox.current()
        if gathered is not None:
            gathered.append(outgoing)
            return
        connections, me = self._app.connections, get_ident()
        inside = connections.inside
        if me in inside or connections.ending:
            self._publish((outgoing,), retry, policy, True)
            return
        message = outgoing.message
        began = time.monotonic()
        retries = self._retry if retry is None else retry
        used: Broker | None = None
        try:
            inside.add(me)
            used = broker = connections.broker()
            known_broker, names = self._declared
            queue = outgoing.queue
            if known_broker is not broker or (queue is not None and queue.name not in names):
                self._declare(broker, (outgoing,))
            broker.post((message,), timeout=self._first if retries else self._deadline)
            if broker.waiting:
                connections.confirmer.wake()
        except OperationalError as error:
            self._failed(used, (outgoing,), [message], error, began, retries, policy)
        finally:
            inside.discard(me)

    def _publish(
        self, outgoing: Sequence[Outgoing], retry: bool | None, policy: Mapping[str, Any] | None, confirmed: bool
    ) -> None:
        connections, me = self._app.connections, get_ident()
        inside = connections.inside
        if me in inside:
            self._publish_below(outgoing)
            return
        if sys.is_finalizing():
            self._publish_at_last(outgoing)
            return
        messages = [each.message for each in outgoing]
        began = time.monotonic()
        used: Broker | None = None
        try:
            inside.add(me)
            used = broker = connections.broker()
            self._declare(broker, outgoing)
            if confirmed or connections.ending:
                broker.publish(messages, timeout=self._deadline)
            else:
                broker.post(messages, timeout=self._deadline)
                if broker.waiting:
                    connections.confirmer.wake()
        except OperationalError as error:
            self._failed(used, outgoing, messages, error, began, self._retry if retry is None else retry, policy)
        finally:
            inside.discard(me)

    def _publish_below(self, outgoing: Sequence[Outgoing]) -> None:
        """Publish in a signal handler or a finalizer that has interrupted this very thread in the middle of publishing.

        What the thread holds is not let go meanwhile, so it is done aside. Where the broker itself waits for the
        interrupted call to end, as a database does in a transaction, the messages are kept until then. No error is
        raised, since the interrupted call would take it for its own.
        """
        connections = self._app.connections
        try:
            self._publish_aside(outgoing, min(self._deadline, BELOW))
        except OperationalError as error:
            messages = [each.message for each in outgoing]
            connections.keep(error.failed if isinstance(error, PublishError) else messages)
            connections.confirmer.wake()

    def _publish_aside(self, outgoing: Sequence[Outgoing], timeout: float) -> None:
        """Publish on a connection of its own, and wait until it is confirmed."""
        broker = self._app.connections.connect(timeout=timeout)
        try:
            queues = {each.queue.name: each.queue for each in outgoing if each.queue is not None}
            broker.declare(list(queues.values()), timeout=timeout)
            broker.publish([each.message for each in outgoing], timeout=timeout)
        finally:
            broker.close()

    def _publish_at_last(self, outgoing: Sequence[Outgoing]) -> None:
        """Publish when the interpreter is being taken apart: aside, because threads that were stopped in the middle of
        publishing hold what they hold. Mostly nothing can be imported any more, and so nothing be reached.

        Raises:
            OperationalError: it was too late.
        """
        try:
            self._publish_aside(outgoing, self._deadline)
        except OperationalError:
            raise
        except Exception as error:
            raise OperationalError(
                f"the interpreter ends, and the broker can no longer be reached ({type(error).__name__}: {error}); "
                f"publish before that, for example in a handler of atexit"
            ) from error

    def _failed(
        self,
        broker: Broker | None,
        outgoing: Sequence[Outgoing],
        messages: list[Message],
        error: OperationalError,
        began: float,
        retries: bool,
        policy: Mapping[str, Any] | None,
    ) -> None:
        left = self._still_own(error, messages)
        whole = {**self._policy, **(policy or {})}
        if not retries or not _is_among(error, whole.get("retry_errors")):
            raise error
        self._publish_again(broker, outgoing, left, error, began + self._deadline, whole)

    def _still_own(self, error: OperationalError, messages: list[Message]) -> list[Message]:
        """Those of a call's own messages that were not taken. The others that an error names, posted by calls that
        have returned since, are kept for the next connection."""
        if not isinstance(error, PublishError):
            return messages
        own = {id(message) for message in messages}
        self._app.connections.keep([message for message in error.failed if id(message) not in own])
        return [message for message in error.failed if id(message) in own]

    def _publish_again(
        self,
        broker: Broker | None,
        outgoing: Sequence[Outgoing],
        messages: list[Message],
        error: OperationalError,
        end: float,
        policy: Mapping[str, Any],
    ) -> None:
        longest = policy.get("max_retries", 3)
        pause = float(policy.get("interval_start", 0) or 0)
        attempt = 0
        while longest is None or attempt < longest:
            attempt += 1
            # The one that failed, and no other: another thread may have made a new one meanwhile.
            self._app.connections.drop_broker(broker)
            broker = None
            left = end - time.monotonic() - pause
            if left <= 0:
                break
            self._sleep(pause)
            pause = min(pause + float(policy.get("interval_step", 0.2)), float(policy.get("interval_max", 1)))
            try:
                broker = self._app.connections.broker(timeout=left)
                self._declare(broker, outgoing)
                broker.publish(messages, timeout=max(end - time.monotonic(), _LEAST))
                return
            except OperationalError as again:
                error = again
                messages = self._still_own(again, messages)
                if not _is_among(again, policy.get("retry_errors")):
                    break
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

    @staticmethod
    def is_heard() -> bool:
        """Whether anybody listens to what is published."""
        heard = signals.before_task_publish._receivers or signals.after_task_publish._receivers
        return bool(heard or signals.task_sent._receivers)

    def announce(self, name: str, outgoing: Outgoing, value: Any, policy: Mapping[str, Any] | None) -> None:
        """Send ``before_task_publish``, whose receivers may change the headers. Called only where somebody listens."""
        message = outgoing.message
        # Receivers may change the headers, also those within, which messages of one form share.
        message.form = None
        message.headers = copy.deepcopy(message.headers)
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
        """Send ``after_task_publish``, and ``task_sent``, its old name."""
        message = outgoing.message
        signals.after_task_publish.send(
            sender=name,
            body=value,
            headers=message.headers,
            exchange=message.exchange,
            routing_key=message.routing_key,
        )
        if signals.task_sent._receivers:
            signals.task_sent.send(
                sender=name,
                task_id=message.headers.get("id"),
                task=name,
                args=value[0],
                kwargs=value[1],
                eta=message.headers.get("eta"),
                taskset=message.headers.get("group"),
            )


def _is_among(error: BaseException | None, errors: Any) -> bool:
    """Whether it, or what it came from, is of one of these classes; None: whatever it is."""
    if errors is None:
        return True
    while error is not None:
        if isinstance(error, tuple(errors) if isinstance(errors, list | set | frozenset) else errors):
            return True
        error = error.__cause__
    return False
