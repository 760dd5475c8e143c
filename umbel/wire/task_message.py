"""Task messages as they go out: Celery's protocol 2, and 1 for who asks for it.

The protocol is documented at https://docs.celeryq.dev/en/stable/internals/protocol.html; members and
their order are those of Celery 5.7.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

NO_EMBED: dict[str, Any] = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


def header_template(name: str, origin: str) -> dict[str, Any]:
    """The headers of protocol 2 with their defaults; a copy is filled for each message."""
    return {
        "lang": "py",
        "task": name,
        "id": None,
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": None,
        "parent_id": None,
        "argsrepr": None,
        "kwargsrepr": None,
        "origin": origin,
        "ignore_result": False,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }


def protocol_1_body(headers: Mapping[str, Any], args: Any, kwargs: Any, embed: Mapping[str, Any]) -> dict[str, Any]:
    """The whole message of protocol 1, made from the parts of protocol 2."""
    return {
        "task": headers["task"],
        "id": headers["id"],
        "args": args,
        "kwargs": kwargs,
        "group": headers["group"],
        "group_index": headers["group_index"],
        "retries": headers["retries"],
        "eta": headers["eta"],
        "expires": headers["expires"],
        "utc": True,
        "callbacks": embed["callbacks"],
        "errbacks": embed["errbacks"],
        "timelimit": headers["timelimit"],
        "taskset": headers["group"],
        "chord": embed["chord"],
    }
