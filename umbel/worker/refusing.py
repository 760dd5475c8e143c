"""Refusing: what is done with a message that nobody here can understand."""

from __future__ import annotations

import logging
from typing import Any

from umbel.model import signals, states
from umbel.model.brief import brief
from umbel.model.request import Context
from umbel.wire.headers import is_id
from umbel.worker.dead_letter import dead_letter
from umbel.worker.held import fence
from umbel.worker.settling import Settling
from umbel_kernel.errors import ContentError, UmbelError
from umbel_kernel.spi.message import Delivery
from umbel_kernel.spi.topology import Queue

logger = logging.getLogger("umbel.worker.loop")


class Refusing:
    """Says why, tells the caller where there is one, and keeps the message.

    Args:
        app: the app.
        hostname: the worker's name.
        settling: does what follows.
        queue: the dead-letter queue; None to drop messages, with an error in the log.
    """

    def __init__(self, app: Any, hostname: str, settling: Settling, queue: Queue | None) -> None:
        self._app = app
        self._hostname = hostname
        self._settling = settling
        self._queue = queue

    def refuse(self, delivery: Delivery, error: UmbelError) -> None:
        """A message that cannot be understood: say so, tell the caller where there is an id, keep the message."""
        headers = delivery.headers
        task_id, name = headers.get("id"), headers.get("task")
        reason = f"{type(error).__name__}: {error}"
        if isinstance(name, str) and name not in self._app.tasks:
            logger.error(
                "Received unregistered task of type %r.\nThe message goes to %s.\n"
                "Is the module that defines it imported (see 'include'), "
                "and is the name relative to the right package?\n"
                "The full contents of the message headers was:\n%s",
                name[:200],
                self._where(),
                brief(headers, 500),
            )
            signals.task_unknown.send(sender=self, message=delivery, exc=error, name=name, id=task_id)
        else:
            logger.error(
                "Received a message that is no task of ours: %s\nThe message goes to %s. "
                "queue: %s content type: %s size: %d headers: %s",
                reason[:500],
                self._where(),
                delivery.queue,
                brief(delivery.content_type, 100),
                len(delivery.body),
                brief(headers, 500),
            )
            signals.task_rejected.send(sender=self, message=delivery, exc=error)
        if isinstance(task_id, str) and is_id(task_id) and not headers.get("ignore_result"):
            self.tell(task_id, error, delivery)
        self.bury(delivery, reason)
        self._settling.ack_delivery(delivery)

    def _where(self) -> str:
        return f"the queue {self._queue.name!r}" if self._queue is not None else "nowhere, it is dropped"

    def bury(self, delivery: Delivery, reason: str) -> None:
        """Put a message into the dead-letter queue, if there is one."""
        if self._queue is not None:
            self._settling.publish([dead_letter(delivery, reason, queue=self._queue, hostname=self._hostname)])

    def tell(self, task_id: str, error: Exception, delivery: Delivery | None) -> None:
        """Store that a task has failed with this error."""
        reply_to = delivery.reply_to if delivery is not None else None
        request = Context(id=task_id, hostname=self._hostname, reply_to=reply_to if isinstance(reply_to, str) else None)
        if delivery is not None:
            request.delivery_fence = fence(delivery.headers, delivery.delivery_count)
        try:
            self._settling.store(self._app.backend.record(task_id, states.FAILURE, error, request=request))
        except ContentError as problem:
            logger.error("cannot store what became of task %s: %s", task_id, problem)
