"""Task messages as they come in, from whoever sent them: protocol 2 by its headers, protocol 1 by its body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from umbel.model.exceptions import InvalidTaskError
from umbel.wire.task_message import NO_EMBED

_NUMBER = (int, float)


def check_headers(headers: Mapping[str, Any]) -> None:
    """Check the types of the headers that the worker goes by.

    Raises:
        InvalidTaskError: one is of the wrong type; says which, and what it should be.
    """
    task_id = headers.get("id")
    if type(task_id) is not str or not task_id or len(task_id) > 512:
        raise InvalidTaskError(f"the header 'id' is a text of 1 to 512 characters, not {task_id!r:.80}")
    retries = headers.get("retries")
    if retries is not None and type(retries) is not int:
        raise InvalidTaskError(f"the header 'retries' is a whole number, not {retries!r:.80}")
    limits = headers.get("timelimit")
    if limits is not None:
        if not isinstance(limits, list | tuple) or len(limits) != 2:
            raise InvalidTaskError(f"the header 'timelimit' is a pair (hard, soft), not {limits!r:.80}")
        for limit in limits:
            if limit is not None and (not isinstance(limit, _NUMBER) or isinstance(limit, bool) or limit < 0):
                raise InvalidTaskError(f"a time limit is a number of seconds or null, not {limit!r:.80}")
    for name in ("root_id", "parent_id", "group", "shadow"):
        value = headers.get(name)
        if value is not None and type(value) is not str:
            raise InvalidTaskError(f"the header {name!r} is a text or null, not {value!r:.80}")


def read_body(body: Any) -> tuple[Any, dict[str, Any], Mapping[str, Any]]:
    """The positional arguments, keyword arguments and embedded callbacks of a decoded body of protocol 2.

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
    return args, kwargs, embed


def is_protocol_1(headers: Mapping[str, Any]) -> bool:
    """Whether a message's headers say nothing of its task, so that its body has to."""
    return "task" not in headers


def upgrade(body: Any, headers: Mapping[str, Any]) -> tuple[dict[str, Any], list[Any]]:
    """Turn a decoded body of protocol 1 into headers and body of protocol 2.

    Raises:
        InvalidTaskError: it is no task message.
    """
    if not isinstance(body, dict) or "task" not in body or "id" not in body:
        raise InvalidTaskError("this is no task message: neither its headers nor its body name a task")
    args, kwargs = body.get("args") or [], body.get("kwargs") or {}
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
        "retries": body.get("retries", 0),
        "timelimit": body.get("timelimit") or [None, None],
        **headers,
    }
    embed = {
        "callbacks": body.get("callbacks"),
        "errbacks": body.get("errbacks"),
        "chain": None,
        "chord": body.get("chord"),
    }
    return upgraded, [args, kwargs, embed]
