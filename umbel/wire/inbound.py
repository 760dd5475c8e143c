"""Task messages as they come in, from whoever sent them: protocol 2 by its headers, protocol 1 by its body."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from umbel.model.exceptions import InvalidTaskError
from umbel.wire.embedded import check_embedded
from umbel.wire.task_message import NO_EMBED


def read_body(body: Any, kinds: Container[str] | None = None) -> tuple[Any, dict[str, Any], Mapping[str, Any]]:
    """The positional arguments, keyword arguments and embedded callbacks of a decoded body of protocol 2.

    Args:
        kinds: the kinds of signature that can be sent from here; None for any.

    Raises:
        InvalidTaskError: it is no such body.
    """
    if not isinstance(body, list | tuple) or len(body) != 3:
        raise InvalidTaskError(f"a task's body is a list of args, kwargs and callbacks, not {type(body).__name__}")
    args, kwargs, embed = body
    if not isinstance(args, list | tuple):
        raise InvalidTaskError(f"a task's positional arguments are a list, not {type(args).__name__}")
    if not isinstance(kwargs, dict):
        raise InvalidTaskError(f"a task's keyword arguments are a mapping, not {type(kwargs).__name__}")
    if embed is None:
        embed = NO_EMBED
    if not isinstance(embed, dict):
        raise InvalidTaskError(f"a task's callbacks are a mapping, not {type(embed).__name__}")
    if embed != NO_EMBED:
        check_embedded(embed, kinds)
    return args, kwargs, embed


def upgrade(body: Any, headers: Mapping[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Turn a decoded body of protocol 1 into headers and body of protocol 2.

    Raises:
        InvalidTaskError: it is no task message.
    """
    if not isinstance(body, dict) or "task" not in body or "id" not in body:
        raise InvalidTaskError("this is no task message: neither its headers nor its body name a task and its id")
    args, kwargs, retries = body.get("args"), body.get("kwargs"), body.get("retries")
    group = body.get("group") or body.get("taskset")
    upgraded = {
        "lang": "py",
        "task": body["task"],
        "id": body["id"],
        "root_id": body.get("root_id") or body["id"],
        "parent_id": body.get("parent_id"),
        "group": group,
        "group_index": body.get("group_index"),
        "shadow": body.get("shadow"),
        "eta": body.get("eta"),
        "expires": body.get("expires"),
        "retries": 0 if retries is None else retries,
        "timelimit": body.get("timelimit") or [None, None],
        **headers,
    }
    embed = {
        "callbacks": body.get("callbacks"),
        "errbacks": body.get("errbacks"),
        "chain": None,
        "chord": body.get("chord"),
    }
    return upgraded, [[] if args is None else args, {} if kwargs is None else kwargs, embed]
