"""Giving back what a consumer of umbel holds: its own choice, its end, or its death."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from umbel_broker_redis.envelope import redelivered
from umbel_broker_redis.layout import Layout
from umbel_broker_redis.scripts import GIVE_BACK
from umbel_client_redis import Link, run

logger = logging.getLogger("umbel.broker.redis")

SOME, ALL, OVERDUE = "some", "all", "overdue"
UNREADABLE = "umbel.unreadable"
"""The list for what stands in a consumer's hash under a name that no consumer gave it."""

_FIRST = 32
_MOST = 500
_BYTES = 4 << 20


def give_back(
    link: Link, layout: Layout, identity: str, fields: Iterable[str | bytes], why: str, timeout: float
) -> int:
    """Put messages back to the front of the lists they came from, in their old order, each marked as delivered before.

    It takes several trips of some megabytes; each message goes back in one step, and only once, whoever else tries.

    Args:
        fields: their names in the hash of what the consumer holds.
        why: ``SOME`` of what it holds, ``ALL`` of it, or ``OVERDUE``: as long as it does not renew its lease.

    Returns:
        how many went back.

    Raises:
        OperationalError: the connection is lost; what has not gone back is still held.
        ChannelError: the server refuses.
    """
    hashed = layout.held(identity)
    # The oldest goes back last, so that it lies in front.
    names = sorted((each.encode() if isinstance(each, str) else each for each in fields), key=number_of, reverse=True)
    count, start, size = 0, 0, _FIRST
    while start < len(names) or not start:
        chunk = names[start : start + size]
        start += size
        bodies = link.ask("HMGET", hashed, *chunk, timeout=timeout) if chunk else []
        lists: dict[str, int] = {}
        arguments: list[Any] = []
        for name, raw in zip(chunk, bodies, strict=True):
            if raw is not None:
                place = lists.setdefault(_list(layout, name), len(lists))
                arguments += (name, redelivered(raw), place)
        command = run(GIVE_BACK, (layout.consumers, hashed, *lists), identity, why, *arguments)
        given = link.ask(*command, timeout=timeout)
        if given < 0:
            break
        count += given
        mean = sum(map(len, arguments[1::3])) // max(1, len(arguments) // 3)
        size = max(1, min(_MOST, _BYTES // max(mean, 1)))
    return count


def names_of(fields: Iterable[bytes]) -> list[str]:
    """Fields or members as text."""
    return [field.decode("utf-8", "replace") for field in fields]


def number_of(field: bytes) -> int:
    """The number in the name of what is held; 0 when it has none."""
    number = field.partition(b":")[0]
    return int(number) if number.isdigit() and len(number) < 16 else 0


def _list(layout: Layout, field: bytes) -> str:
    number, _, key = field.partition(b":")
    if number.isdigit() and key:
        return key.decode("utf-8", "replace")
    unreadable = f"{layout.prefix}{UNREADABLE}"
    logger.error("among what a consumer holds is %r, which no consumer took; it goes to the list %r", field, unreadable)
    return unreadable
