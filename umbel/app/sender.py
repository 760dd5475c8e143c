"""A compiled sender: everything about a task's messages that does not change from call to call, worked out once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from umbel.app.header_check import check_headers
from umbel.app.outbox import Outgoing
from umbel.app.plan import EMBED_OPTIONS, HEADER_OPTIONS, KNOWN, OWN, TIMES, Plan, form_of, key_of
from umbel.app.unsent import named
from umbel.model import moment
from umbel.model.brief import brief
from umbel.model.ids import uuid
from umbel.wire.content import RAW
from umbel.wire.embedded import check_embedded
from umbel.wire.task_message import NO_EMBED, header_template, protocol_1_body
from umbel_kernel.errors import ConfigurationError, EncodeError
from umbel_kernel.spi.broker import BrokerCapability
from umbel_kernel.spi.message import Message

_MOST_PLANS = 512
_EMPTY: Any = ((), {}, NO_EMBED)


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
        self._parts: Mapping[str, Any] = app._parts
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
        self._delays = BrokerCapability.DELAY in app.broker_capabilities
        self._has_reply_to = app.has_reply_to
        self._reply_to: str | None = None
        self._connections = app.connections
        self._backend: Any = None
        self._plans: dict[tuple[Any, ...], Plan] = {}

    def make(self, args: Any, kwargs: Any, options: Mapping[str, Any]) -> tuple[str, Outgoing]:
        """The id and the message of one call.

        Raises:
            TypeError: args or kwargs are not what can be called with.
            ValueError: a countdown, eta or expires is no point in time.
            EncodeError: the arguments cannot be serialised, or a header that was given cannot stand in a message.
        """
        if args is None:
            args = ()
        elif not isinstance(args, list | tuple):
            raise TypeError(f"task args must be a list or tuple, not {type(args).__name__}")
        if kwargs is None:
            kwargs = {}
        elif kwargs.__class__ is not dict and not isinstance(kwargs, Mapping):
            raise TypeError(f"task keyword arguments must be a mapping, not {type(kwargs).__name__}")
        if self._has_reply_to and (self._backend is None or self._backend is not self._connections.current_backend):
            self._backend = self._connections.backend()
            self._reply_to = self._backend.reply_to
            self._plans.clear()
        key = key_of(options, self.defaults) if options else ()
        try:
            plan = self._plans.get(key) if key is not None else None
        except TypeError:  # an option that cannot be compared; its plan is used once
            key = plan = None
        if plan is None:
            plan = self._plan(key, args, kwargs, options)
        if options or plan.own or plan.protocol_1:
            return self._make_with(plan, args, kwargs, {**plan.own, **options} if plan.own else options)
        headers = plan.headers.copy()
        task_id = headers["id"] = headers["root_id"] = uuid()
        headers["argsrepr"] = brief(args, 1024, self.levels) if args else str(args)
        headers["kwargsrepr"] = brief(kwargs, 1024, self.levels) if kwargs else "{}"
        return task_id, self._finish(plan, headers, (args, kwargs, NO_EMBED), task_id)

    def _plan(self, key: tuple[Any, ...] | None, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Plan:
        """A new plan for these options, kept when later calls with the same ``key`` need no other."""
        app = self.app
        merged: dict[str, Any] = {**self.defaults, **options}
        asked = app.router.by_arguments(merged)
        merged = app.router.route(merged, merged.get("route_name") or self.name, args, kwargs, app.tasks.get(self.name))
        protocol_1 = self.protocol_1 or merged.get("task_protocol") == 1
        headers = self.template.copy()
        headers["timelimit"] = [merged.get("time_limit"), merged.get("soft_time_limit")]
        headers["ignore_result"] = bool(merged.get("ignore_result"))
        priority = merged.get("priority", self.priority)
        inherited = priority is None and self.inherit_priority
        if inherited:
            priority = app.inherited_priority()
        if priority is not None and (not isinstance(priority, int) or isinstance(priority, bool)):
            raise ConfigurationError(f"a priority is a whole number, not {priority!r}")
        exchange, routing_key = self._address(merged)
        mode, expiration = merged.get("delivery_mode"), merged.get("expiration")
        plan = Plan(
            headers=headers,
            queue=merged.get("queue") if not merged.get("exchange") else None,
            routing_key=routing_key,
            exchange=exchange,
            serializer=merged.get("serializer") or self.serializer,
            compression=merged.get("compression") or self.compression,
            reply_to=merged.get("reply_to") or self._reply_to,
            priority=priority,
            delivery_mode=self.delivery_mode if mode is None else (1 if mode in (1, "transient") else 2),
            expiration=float(expiration) if expiration is not None else None,
            protocol_1=protocol_1,
            own={
                name: value
                for name, value in merged.items()
                if name in OWN and name not in options and name != "ignore_result"
            },
            times=bool(merged.keys() & TIMES),
            embeds=bool(merged.keys() & EMBED_OPTIONS.keys()),
            properties=_properties(merged),
        )
        if key is not None and not (asked or inherited or protocol_1 or plan.serializer == RAW):
            plan.form = form_of(merged) if not plan.properties else None
            if len(self._plans) >= _MOST_PLANS:
                self._plans.clear()
            self._plans[key] = plan
        return plan

    def _address(self, options: Mapping[str, Any]) -> tuple[str, str]:
        """The exchange, empty for straight to the queue, and the routing key."""
        queue, exchange, routing_key = options.get("queue"), options.get("exchange"), options.get("routing_key")
        exchange = getattr(exchange, "name", exchange)
        if queue is not None and not exchange:
            first = queue.bindings[0]
            if first.exchange.type == "direct":
                return "", queue.name
            return first.exchange.name, routing_key or first.routing_key
        if not routing_key:
            conf = self.app.conf
            routing_key = conf.task_default_routing_key or conf.task_default_queue
        return exchange or "", routing_key

    def _make_with(self, plan: Plan, args: Any, kwargs: Any, options: Mapping[str, Any]) -> tuple[str, Outgoing]:
        task_id = options.get("task_id") or uuid()
        headers = plan.headers.copy()
        headers["id"] = task_id
        for option, value in options.items():
            header = HEADER_OPTIONS.get(option)
            if header is not None and value is not None:
                headers[header] = value
        headers["root_id"] = headers["root_id"] or task_id
        if headers["argsrepr"] is None:
            headers["argsrepr"] = brief(args, 1024, self.levels)
        if headers["kwargsrepr"] is None:
            headers["kwargsrepr"] = brief(kwargs, 1024, self.levels)
        delay = None
        if plan.times:
            app = self.app
            now = app.now()
            eta = expires = None
            if options.get("countdown") is not None or options.get("eta") is not None:
                eta = _point(options.get("eta"), options.get("countdown"), now, app, "eta", "countdown")
            if options.get("expires") is not None:
                expires = _expires(options["expires"], now, app)
            headers["eta"] = eta.isoformat() if eta is not None else None
            headers["expires"] = expires.isoformat() if expires is not None else None
            if eta is not None and self._delays:
                delay = max((eta - now).total_seconds(), 0.0)
        stamped = options.get("stamped_headers")
        if stamped:
            headers["stamped_headers"] = list(stamped)
            headers["stamps"] = {name: options.get(name) for name in stamped}
            check_headers(self.name, "stamp", headers["stamps"])
        given = options.get("headers")
        if given:
            check_headers(self.name, "header", given)
            headers.update(given)
        embed = _embed(self.name, options) if plan.embeds else NO_EMBED
        content: Any = (args, kwargs, embed)
        if plan.protocol_1:
            content = protocol_1_body(headers, args, kwargs, embed)
            headers = dict(given or {})
        outgoing = self._finish(plan, headers, content, options.get("correlation_id") or task_id)
        outgoing.message.delay = delay
        return task_id, outgoing

    def _finish(self, plan: Plan, headers: dict[str, Any], content: Any, correlation_id: str) -> Outgoing:
        """Write the body, and put all together."""
        empty = plan.form is not None and content == _EMPTY
        if empty and plan.empty is not None:
            body, content_type, content_encoding = plan.empty
        else:
            codec = self._parts.get("content") or self.app.content
            try:
                body, content_type, content_encoding = codec.dumps(content, plan.serializer)
            except EncodeError as error:
                if isinstance(content, tuple):
                    raise named(codec, plan.serializer, self.name, content, error) from error
                raise
            if plan.compression:
                body, headers["compression"] = codec.compress(body, plan.compression)
            elif empty:
                plan.empty = (body, content_type, content_encoding)
        message = Message(
            body,
            plan.routing_key,
            plan.exchange,
            content_type,
            content_encoding,
            headers,
            correlation_id,
            plan.reply_to,
            plan.priority,
            plan.delivery_mode,
            plan.expiration,
            None,
            plan.properties.copy() if plan.properties else {},
            plan.form,
        )
        return Outgoing(message, plan.queue)


def _properties(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options that a call has for its broker alone."""
    others = options.keys() - KNOWN
    if others:
        others -= set(options.get("stamped_headers") or ())
    return {name: options[name] for name in others if options[name] is not None}


def _embed(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The part of the body that says what follows.

    Raises:
        InvalidTaskError: a callback or errback is no signature, or one that no worker would take.
    """
    embed = {what: options.get(option) or None for option, what in EMBED_OPTIONS.items()}
    for what in ("callbacks", "errbacks"):
        value = embed[what]
        if value is not None and (isinstance(value, Mapping) or not isinstance(value, list | tuple)):
            embed[what] = [value]
    # A chain and a chord are checked where they are sent, so that those in them need not be, once for each.
    if embed["callbacks"] is not None or embed["errbacks"] is not None:
        check_embedded({"callbacks": embed["callbacks"], "errbacks": embed["errbacks"]}, None, name)
    return embed


def _point(at: Any, seconds: Any, now: datetime, app: Any, at_name: str, seconds_name: str) -> datetime | None:
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
    return moment.read(at, app.timezone)


def _expires(value: Any, now: datetime, app: Any) -> datetime | None:
    if value is None or isinstance(value, datetime | str):
        return moment.read(value, app.timezone)
    if isinstance(value, timedelta):
        return moment.after(value.total_seconds(), now)
    if isinstance(value, int | float) and not isinstance(value, bool):
        return moment.after(value, now)
    raise ValueError(f"expires is a number of seconds, a datetime or ISO 8601 text, not {value!r}")
