"""A compiled sender: everything about a task's messages that does not change from call to call, worked out once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from umbel.app.outbox import Outgoing
from umbel.model import moment
from umbel.model.brief import brief
from umbel.model.ids import uuid
from umbel.wire.task_message import NO_EMBED, header_template, protocol_1_body
from umbel_kernel.errors import ConfigurationError
from umbel_kernel.spi.broker import BrokerCapability
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue

_HEADER_OPTIONS = {
    "shadow": "shadow",
    "group_id": "group",
    "group_index": "group_index",
    "retries": "retries",
    "root_id": "root_id",
    "parent_id": "parent_id",
    "origin": "origin",
    "ignore_result": "ignore_result",
    "replaced_task_nesting": "replaced_task_nesting",
    "argsrepr": "argsrepr",
    "kwargsrepr": "kwargsrepr",
}
_IN_TEMPLATE = frozenset(
    ("serializer", "compression", "priority", "queue", "ignore_result", "time_limit", "soft_time_limit")
)
_EMBED_OPTIONS = {"link": "callbacks", "link_error": "errbacks", "chain": "chain", "chord": "chord"}
_TIMES = frozenset(("eta", "countdown", "expires"))


class Sender:
    """Makes the messages of one task.

    Args:
        app: the app whose configuration holds.
        name: the task's name.
        defaults: the options of the task itself, below those of the call.
    """

    def __init__(self, app: Any, name: str, defaults: Mapping[str, Any]) -> None:
        conf = app.conf
        self.app = app
        self.name = name
        self.defaults = {key: value for key, value in defaults.items() if value is not None}
        self.template = header_template(name, app.origin)
        self.serializer: str = self.defaults.get("serializer") or conf.task_serializer
        self.compression: str | None = self.defaults.get("compression") or conf.task_compression
        self.priority: int | None = self.defaults.get("priority", conf.task_default_priority)
        self.delivery_mode = 1 if conf.task_default_delivery_mode in (1, "transient") else 2
        self.levels = conf.task_repr_maxlevels
        self.protocol_1 = conf.task_protocol == 1
        self.inherit_priority = conf.task_inherit_parent_priority
        self._limits = [self.defaults.get("time_limit"), self.defaults.get("soft_time_limit")]
        self.template["timelimit"] = self._limits
        self.template["ignore_result"] = bool(self.defaults.get("ignore_result"))
        self._plain_queue = self._find_plain_queue()

    def _find_plain_queue(self) -> Queue | None:
        """The queue of calls without options, when all that is special about them stands in the template."""
        app = self.app
        if self.protocol_1 or self.inherit_priority or not app.router.plain or set(self.defaults) - _IN_TEMPLATE:
            return None
        name = self.defaults.get("queue") or app.conf.task_default_queue
        queue: Queue = app.queues[name] if isinstance(name, str) else name
        return queue if queue.bindings[0].exchange.type == "direct" else None

    def make(self, args: Any, kwargs: Any, options: Mapping[str, Any]) -> tuple[str, Outgoing]:
        """The id and the message of one call.

        Raises:
            TypeError: args or kwargs are not what can be called with.
            ValueError: a countdown, eta or expires is no point in time.
            EncodeError: the arguments cannot be serialised.
        """
        if args is None:
            args = ()
        elif not isinstance(args, list | tuple):
            raise TypeError(f"task args must be a list or tuple, not {type(args).__name__}")
        if kwargs is None:
            kwargs = {}
        elif not isinstance(kwargs, Mapping):
            raise TypeError(f"task keyword arguments must be a mapping, not {type(kwargs).__name__}")
        queue = self._plain_queue
        if options or queue is None:
            return self._make_with(args, kwargs, {**self.defaults, **options})
        task_id = uuid()
        headers = self.template.copy()
        headers["id"] = headers["root_id"] = task_id
        headers["argsrepr"] = brief(args, 1024, self.levels)
        headers["kwargsrepr"] = brief(kwargs, 1024, self.levels)
        body, content_type, content_encoding = self._encode((args, kwargs, NO_EMBED), self.serializer, headers)
        message = Message(
            body,
            queue.name,
            "",
            content_type,
            content_encoding,
            headers,
            task_id,
            self.app.reply_to,
            self.priority,
            self.delivery_mode,
        )
        return task_id, Outgoing(message, queue)

    def _encode(
        self, value: Any, serializer: str, headers: dict[str, Any], compression: str | None = None
    ) -> tuple[bytes, str, str]:
        content = self.app.content
        body, content_type, content_encoding = content.dumps(value, serializer)
        compression = compression or self.compression
        if compression:
            body, headers["compression"] = content.compress(body, compression)
        return body, content_type, content_encoding

    def _make_with(self, args: Any, kwargs: Any, options: dict[str, Any]) -> tuple[str, Outgoing]:
        app = self.app
        options = app.router.route(
            options, options.get("route_name") or self.name, args, kwargs, app.tasks.get(self.name)
        )
        task_id = options.get("task_id") or uuid()
        headers = self.template.copy()
        headers["id"] = task_id
        for option, value in options.items():
            header = _HEADER_OPTIONS.get(option)
            if header is not None and value is not None:
                headers[header] = value
        headers["root_id"] = headers["root_id"] or task_id
        if headers["argsrepr"] is None:
            headers["argsrepr"] = brief(args, 1024, self.levels)
        if headers["kwargsrepr"] is None:
            headers["kwargsrepr"] = brief(kwargs, 1024, self.levels)
        headers["timelimit"] = [options.get("time_limit"), options.get("soft_time_limit")]
        eta = None
        if options.keys() & _TIMES:
            now = app.now()
            eta = _point(options.get("eta"), options.get("countdown"), now, app.timezone, "eta", "countdown")
            expires = _expires(options.get("expires"), now, app.timezone)
            headers["eta"] = eta.isoformat() if eta is not None else None
            headers["expires"] = expires.isoformat() if expires is not None else None
        stamped = options.get("stamped_headers")
        if stamped:
            headers["stamped_headers"] = list(stamped)
            headers["stamps"] = {name: options.get(name) for name in stamped}
        else:
            headers["stamps"] = {}
        if options.get("headers"):
            headers.update(options["headers"])
        embed: Any = NO_EMBED
        if options.keys() & _EMBED_OPTIONS.keys():
            embed = {name: options.get(option) or None for option, name in _EMBED_OPTIONS.items()}
            for name in ("callbacks", "errbacks"):
                if embed[name] is not None and (
                    isinstance(embed[name], Mapping) or not isinstance(embed[name], list | tuple)
                ):
                    embed[name] = [embed[name]]
        content: Any = (args, kwargs, embed)
        sent_headers = headers
        if self.protocol_1 or options.get("task_protocol") == 1:
            content = protocol_1_body(headers, args, kwargs, embed)
            sent_headers = dict(options.get("headers") or {})
        body, content_type, content_encoding = self._encode(
            content, options.get("serializer") or self.serializer, sent_headers, options.get("compression")
        )
        message = self._address(body, content_type, content_encoding, sent_headers, options, task_id)
        if eta is not None and BrokerCapability.DELAY in app.broker_capabilities:
            message.delay = max((eta - now).total_seconds(), 0.0)
        queue = options.get("queue")
        return task_id, Outgoing(message, queue if not options.get("exchange") else None)

    def _address(
        self,
        body: bytes,
        content_type: str,
        content_encoding: str,
        headers: dict[str, Any],
        options: Mapping[str, Any],
        task_id: str,
    ) -> Message:
        queue, exchange, routing_key = options.get("queue"), options.get("exchange"), options.get("routing_key")
        exchange = getattr(exchange, "name", exchange)
        if queue is not None and not exchange:
            first = queue.bindings[0]
            if first.exchange.type == "direct":
                exchange, routing_key = "", queue.name
            else:
                exchange, routing_key = first.exchange.name, routing_key or first.routing_key
        elif not routing_key:
            routing_key = self.app.conf.task_default_routing_key or self.app.conf.task_default_queue
        priority = options.get("priority", self.priority)
        if priority is None and self.inherit_priority:
            priority = self.app.inherited_priority()
        if priority is not None and (not isinstance(priority, int) or isinstance(priority, bool)):
            raise ConfigurationError(f"a priority is a whole number, not {priority!r}")
        mode = options.get("delivery_mode")
        expiration = options.get("expiration")
        return Message(
            body,
            routing_key,
            exchange or "",
            content_type,
            content_encoding,
            headers,
            options.get("correlation_id") or task_id,
            options.get("reply_to") or self.app.reply_to,
            priority,
            self.delivery_mode if mode is None else (1 if mode in (1, "transient") else 2),
            float(expiration) if expiration is not None else None,
        )


def _point(at: Any, seconds: Any, now: datetime, tz: Any, at_name: str, seconds_name: str) -> datetime | None:
    if seconds is not None and seconds != 0:
        if isinstance(seconds, timedelta):
            seconds = seconds.total_seconds()
        if not isinstance(seconds, int | float) or isinstance(seconds, bool):
            raise ValueError(f"{seconds_name} is a number of seconds, not {seconds!r}")
        return moment.after(seconds, now)
    if at is None:
        return None
    if not isinstance(at, datetime | str):
        raise ValueError(f"{at_name} is a datetime or ISO 8601 text, not {at!r}")
    return moment.read(at, tz)


def _expires(value: Any, now: datetime, tz: Any) -> datetime | None:
    if value is None or isinstance(value, datetime | str):
        return moment.read(value, tz)
    if isinstance(value, timedelta):
        return moment.after(value.total_seconds(), now)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return moment.after(value, now)
    raise ValueError(f"expires is a number of seconds, a datetime or ISO 8601 text, not {value!r}")
