"""Gives back what consumers of Celery held that are gone, out of the hash and the index that kombu keeps."""

from __future__ import annotations

import json
import re

from umbel_broker_redis.envelope import load, redelivered
from umbel_broker_redis.giving_back import UNREADABLE
from umbel_broker_redis.layout import Layout, topic_matches
from umbel_broker_redis.scripts import RESTORE
from umbel_client_redis import Command, Link, run

_TAIL = re.compile(rb',"",("(?:[^"\\]|\\.)*")\]\Z', re.DOTALL)


def restore(link: Link, layout: Layout, before: float, limit: int, timeout: float) -> bool:
    """Put back up to ``limit`` messages held since before that time (seconds of the epoch).

    Returns:
        whether any went back.

    Raises:
        OperationalError: the connection is lost.
        ChannelError: the server refuses.
    """
    names = link.ask("ZRANGEBYSCORE", layout.index, "-inf", before, "LIMIT", 0, limit, timeout=timeout)
    if not names:
        return False
    entries = link.ask("HMGET", layout.unacked, *names, timeout=timeout)
    commands: list[Command] = []
    given = 0
    for name, entry in zip(names, entries, strict=True):
        if entry is None:
            commands.append(("ZREM", layout.index, name))
            continue
        raw, exchange, routing_key = _entry(entry)
        queue = _queue(link, layout, exchange, routing_key, timeout) if exchange else routing_key
        key = layout.key(queue, _priority(raw))
        commands.append(run(RESTORE, (layout.unacked, layout.index, key), name, redelivered(raw), repr(before)))
        given += 1
    replies = [link.answer(reply) for reply in link.call(commands, timeout)]
    return bool(given and any(replies))


def _entry(entry: bytes) -> tuple[bytes, str, str]:
    """Message, exchange and routing key of an entry, also of one whose message is no JSON."""
    try:
        message, exchange, routing_key = json.loads(entry)
        raw = message.encode() if isinstance(message, str) else json.dumps(message).encode()
        return raw, str(exchange or ""), str(routing_key or "")
    except (ValueError, TypeError, RecursionError):
        tail = _TAIL.search(entry)
        if tail is None:
            return entry, "", UNREADABLE
        return entry[1 : tail.start()], "", json.loads(tail[1])


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
