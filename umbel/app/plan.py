"""What the calls of a task with the same options have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from umbel_kernel.spi.message import Form
from umbel_kernel.spi.topology import Queue

HEADER_OPTIONS = {
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
"""The options that stand in a header, with its name."""

EMBED_OPTIONS = {"link": "callbacks", "link_error": "errbacks", "chain": "chain", "chord": "chord"}
"""The options that stand in the body, with the names there."""

TIMES = frozenset(("eta", "countdown", "expires"))
"""The options that say when."""

OWN = frozenset((*HEADER_OPTIONS, *EMBED_OPTIONS, *TIMES, "task_id", "correlation_id", "headers"))
"""The options whose values are each call's own; a plan only says which of them there are."""

_ASIDE = frozenset(
    ("retry", "retry_policy", "add_to_parent", "result_cls", "producer", "connection", "publisher", "router")
)
_ALWAYS = ("id", "root_id", "argsrepr", "kwargsrepr")

KNOWN = frozenset(
    (
        *OWN, *_ASIDE, "queue", "exchange", "exchange_type", "routing_key", "route_name", "priority", "delivery_mode",
        "expiration", "reply_to", "serializer", "compression", "time_limit", "soft_time_limit", "task_protocol",
        "task_type", "stamped_headers", "mandatory", "immediate", "declare", "timeout", "confirm_timeout", "typing",
        "event_dispatcher", "content_type", "content_encoding", "throw", "logfile", "loglevel", "interval",
        "max_retries",
    )
)  # fmt: skip
"""The options that calls know. All others are properties of the message, as a broker of its own kind may have them."""


@dataclass(slots=True, eq=False)
class Plan:
    """Everything about a call's message but its body and what is the call's own.

    Attributes:
        headers: the headers, to be copied and filled in.
        queue: what has to be declared before; None when an exchange routes the message.
        own: options of ``OWN`` that the task or a route set.
        times: whether any of ``TIMES`` is set.
        embeds: whether any of ``EMBED_OPTIONS`` is set.
        properties: what brokers have options for that calls have not, such as ``MessageGroupId``.
        empty: body, content type and content encoding of a call without arguments, once it was made.
    """

    headers: dict[str, Any]
    queue: Queue | None
    routing_key: str
    exchange: str
    serializer: str
    compression: str | None
    reply_to: str | None
    priority: int | None
    delivery_mode: int
    expiration: float | None
    protocol_1: bool
    own: dict[str, Any]
    times: bool
    embeds: bool
    properties: dict[str, Any]
    form: Form | None = None
    empty: tuple[bytes, str, str] | None = field(default=None)


def key_of(options: Mapping[str, Any], defaults: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """What calls with a common plan have in common; None for options that no other call will share."""
    key: list[Any] = []
    for name, value in options.items():
        if value is None:
            if name in defaults:
                key.append((name, None))
        elif name in OWN:
            key.append((name, *value) if name == "headers" else name)
        elif name == "stamped_headers":
            return None
        elif name not in _ASIDE:
            key.append((name, value, value.__class__))
    return tuple(key)


def form_of(options: Mapping[str, Any]) -> Form | None:
    """The form of the messages of a plan, given all options of one call; None when header names are no text."""
    varying = dict.fromkeys(_ALWAYS)
    for name in options:
        header = HEADER_OPTIONS.get(name)
        if header is not None:
            varying[header] = None
    if options.keys() & TIMES:
        varying["eta"] = varying["expires"] = None
    for name in options.get("headers") or ():
        if not isinstance(name, str):
            return None
        varying[name] = None
    return Form(tuple(varying))
