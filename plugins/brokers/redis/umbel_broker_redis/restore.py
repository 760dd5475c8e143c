"""Gives back what consumers held that are gone: ours and Celery's, which share the ``unacked`` hash."""

from __future__ import annotations

import json
import re
from typing import Any

from umbel_broker_redis.envelope import load, redelivered
from umbel_broker_redis.layout import Layout, topic_matches
from umbel_broker_redis.scripts import GIVE_BACK
from umbel_client_redis import Command, Link, run

_TAIL = re.compile(rb',"",("(?:[^"\\]|\\.)*")\]\Z', re.DOTALL)


def overdue(link: Link, layout: Layout, before: float, limit: int, timeout: float) -> list[Any]:
    """Put back up to ``limit`` messages held since before that time (seconds of the epoch).

    Returns the script's replies: 1 for each that went back.

    Raises:
        OperationalError: the connection is lost.
    """
    names = link.answer(link.call([("ZRANGEBYSCORE", layout.index, "-inf", before, "LIMIT", 0, limit)], timeout)[0])
    if not names:
        return []
    entries = link.answer(link.call([("HMGET", layout.unacked, *names)], timeout)[0])
    commands: list[Command] = []
    for name, entry in zip(names, entries, strict=True):
        if entry is None:
            commands.append(("ZREM", layout.index, name))
            continue
        raw, exchange, routing_key = _entry(entry)
        queue = _queue(link, layout, exchange, routing_key, timeout) if exchange else routing_key
        key = layout.key(queue, _priority(raw))
        commands.append(
            run(GIVE_BACK, (layout.unacked, layout.index, key), name, redelivered(raw), "RPUSH", repr(before))
        )
    return link.call(commands, timeout)


def _entry(entry: bytes) -> tuple[bytes, str, str]:
    """Message, exchange and routing key of an entry, also of one whose message is no JSON."""
    try:
        message, exchange, routing_key = json.loads(entry)
        raw = message.encode() if isinstance(message, str) else json.dumps(message).encode()
        return raw, str(exchange or ""), str(routing_key or "")
    except (ValueError, TypeError, RecursionError):
        tail = _TAIL.search(entry)
        if tail is None:
            return entry, "", "umbel.unreadable"
        raw = entry[1 : tail.start()]
        if raw.startswith(b'"'):  # the server wrote bytes that are no object as a string, and left them as they were
            raw = json.loads(raw.decode("latin-1"), strict=False).encode("latin-1")
        return raw, "", json.loads(tail[1])


def _queue(link: Link, layout: Layout, exchange: str, routing_key: str, timeout: float) -> str:
    """The queue that a message of a Celery consumer came from: by its binding, or, failing that, by its routing key."""
    members = link.answer(link.call([("SMEMBERS", layout.bindings(exchange))], timeout)[0])
    bound = [parts for parts in map(layout.split, members) if parts is not None]
    for key, pattern, queue in bound:
        if key == routing_key or (pattern and topic_matches(key, routing_key)):
            return queue
    return routing_key


def _priority(raw: bytes) -> int:
    found = load(raw)
    properties = found.get("properties") if found else None
    priority = properties.get("priority") if isinstance(properties, dict) else None
    return priority if isinstance(priority, int) else 0
