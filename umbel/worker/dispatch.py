"""Dispatch: what to do with a delivery, decided from its headers alone."""

from __future__ import annotations

import enum
import itertools
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from umbel.model import moment, signals
from umbel.model.brief import brief
from umbel.model.exceptions import InvalidTaskError, NotRegistered
from umbel.wire.headers import check_headers, is_plain
from umbel.wire.inbound import upgrade
from umbel.worker.chords import PARTS
from umbel.worker.held import Held, Plan, fence
from umbel.worker.revoked import Revoked
from umbel_kernel.errors import ContentError, ContentTooLarge
from umbel_kernel.spi.message import Delivery
from umbel_kernel.spi.pool import Job

logger = logging.getLogger("umbel.worker.strategy")


class Fate(enum.Enum):
    """What is to happen with a delivery."""

    RUN = "run"
    LATER = "later"
    """Its time has not come."""
    DEAD = "dead"
    """It cannot be understood."""
    EXPIRED = "expired"
    REVOKED = "revoked"


class Dispatch:
    """Decides deliveries.

    Args:
        app: the app, for its tasks and its codec.
        revoked: ids that are not to run.
        soft: the worker's soft time limit in seconds, for tasks without one.
        hard: likewise the hard one.
        check_limits: called with the name and the job of each task that has a time limit.
        gathers: whether jobs run in this process, so that the worker counts what they are of chords.
        now: the time, UTC.
    """

    def __init__(
        self,
        app: Any,
        revoked: Revoked,
        *,
        soft: float | None = None,
        hard: float | None = None,
        check_limits: Callable[[str, Job], None] | None = None,
        gathers: bool = False,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._app = app
        self.revoked = revoked
        self._soft = soft
        self._hard = hard
        self._check_limits = check_limits
        self._gathers = gathers
        self._now = now
        self._plans: dict[str, Plan] = {}
        self._ids = itertools.count(1)
        self._longest: int = app.conf.worker_max_message_size

    def plan(self, name: Any) -> Plan | None:
        """The plan of a task, or None when there is no such task."""
        found = self._plans.get(name) if type(name) is str else None
        if found is None and type(name) is str:
            task = self._app.tasks.get(name)
            if task is not None:
                found = self._plans[name] = Plan.of(task, self._soft, self._hard)
        return found

    def fate(self, held: Held) -> Fate:
        """What to do with a task that has waited here: it may have expired or been revoked in the meantime."""
        if held.until is not None and held.until <= self._now():
            return Fate.EXPIRED
        return Fate.REVOKED if self.revoked and self.revoked.covers(held.task_id, held.job.headers) else Fate.RUN

    def decide(self, delivery: Delivery) -> tuple[Fate, Held | None, Any]:
        """What to do with a delivery.

        Returns:
            Its fate; the held task (None when it cannot be understood); and, for ``LATER``, when it is
            due, for ``DEAD`` the error that says why.
        """
        headers, source = delivery.headers, delivery
        if len(delivery.body) > self._longest:
            return Fate.DEAD, None, ContentTooLarge(len(delivery.body), self._longest)
        try:
            name = headers.get("task")
            if name is None:
                source = self._protocol_1(delivery)
                headers = source.headers
                name = headers["task"]
            plan = self._plans.get(name) if type(name) is str else None
            if plan is None:
                plan = self.plan(name)
                if plan is None:
                    return Fate.DEAD, None, _unknown(name)
            plain = is_plain(headers)
            if not plain:
                check_headers(headers)
            reply_to = delivery.reply_to
            if reply_to is not None and type(reply_to) is not str:
                raise InvalidTaskError(f"the property 'reply_to' is a text or null, not {brief(reply_to, 80)}")
            eta = expires = due = until = None
            if not plain:
                eta, expires = headers.get("eta"), headers.get("expires")
                due = moment.read(eta, self._app.timezone) if eta else None
                until = moment.read(expires, self._app.timezone) if expires else None
        except (InvalidTaskError, ContentError) as error:
            return Fate.DEAD, None, error
        except (ValueError, TypeError) as error:
            return (
                Fate.DEAD,
                None,
                InvalidTaskError(f"the headers 'eta' and 'expires' are points in time: {str(error)[:200]}"),
            )
        held = self._hold(delivery, source, plan, until, None if plain else headers.get("timelimit"))
        if plain:
            held.job.context["headers"] = None
        if signals.task_received._receivers:
            signals.task_received.send(sender=self, request=held)
        if logger.isEnabledFor(logging.INFO):
            data = {"id": held.task_id, "name": name, "eta": eta, "args": headers.get("argsrepr")}
            logger.info("Task %(name)s[%(id)s] received", data, extra={"data": data})
        if until is not None or self.revoked:
            fate = self.fate(held)
            if fate is not Fate.RUN:
                return fate, held, None
        if due is not None and due > self._now():
            return Fate.LATER, held, due
        return Fate.RUN, held, None

    def _hold(self, delivery: Delivery, source: Delivery, plan: Plan, until: datetime | None, limits: Any) -> Held:
        headers = source.headers
        hard, soft = limits or (None, None)
        context: dict[str, Any] = {
            "delivery_info": {
                "exchange": delivery.exchange,
                "routing_key": delivery.routing_key or delivery.queue,
                "priority": delivery.priority,
                "redelivered": delivery.redelivered,
            },
            "reply_to": delivery.reply_to,
            "correlation_id": delivery.correlation_id,
            "delivery_fence": fence(headers, delivery.delivery_count),
        }
        if self._gathers and headers.get("group"):
            context[PARTS] = []
        job = Job(
            next(self._ids),
            source.body,
            headers,
            source.content_type,
            source.content_encoding,
            context,
            soft if soft is not None else plan.soft,
            hard if hard is not None else plan.hard,
        )
        if self._check_limits is not None and (job.soft_limit is not None or job.hard_limit is not None):
            self._check_limits(plan.name, job)
        held = Held(delivery, job, plan, headers["id"], until=until, received=delivery)
        if plan.request is not None:
            held.request = plan.request(held, self._app)
        return held

    def _protocol_1(self, delivery: Delivery) -> Delivery:
        """A message whose body alone says what it is, as one of protocol 2. The one that came stays as it came."""
        content = self._app.content
        body = delivery.body
        compression = delivery.headers.get("compression")
        if compression:
            body = content.decompress(body, compression)
        value = content.loads(body, delivery.content_type, delivery.content_encoding)
        headers, message = upgrade(value, delivery.headers)
        headers.pop("compression", None)
        body, content_type, content_encoding = content.dumps(message, self._app.conf.task_serializer)
        return replace(
            delivery, body=body, headers=headers, content_type=content_type, content_encoding=content_encoding
        )


def _unknown(name: Any) -> NotRegistered | InvalidTaskError:
    if type(name) is not str:
        return InvalidTaskError(f"the header 'task' is a text, not {brief(name, 80)}")
    return NotRegistered(name if len(name) <= 512 else f"{name[:512]}...")
