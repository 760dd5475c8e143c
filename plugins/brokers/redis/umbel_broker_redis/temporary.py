"""Queues that end with their consumer: a note of them in Redis, so that somebody tidies up also after a death.

The note is a hash of queues, each with the exchanges it is bound to and how, beside the hash of what is held.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from umbel_broker_redis.giving_back import names_of
from umbel_broker_redis.layout import Layout
from umbel_broker_redis.scripts import UNBIND
from umbel_client_redis import Command, Link, run

Bound = Mapping[str, Iterable[tuple[str, str]]]
"""Queues, each with the exchanges it is bound to and the members that say so."""


def note(layout: Layout, identity: str, queues: Bound) -> list[Command]:
    """The commands that write the note, and again the bindings, should somebody have thought the consumer dead."""
    if not queues:
        return []
    pairs: list[str] = []
    for queue, bindings in queues.items():
        pairs += (queue, json.dumps(sorted(bindings)))
    commands: list[Command] = [("HSET", layout.temporary(identity), *pairs)]
    for bindings in queues.values():
        commands += [("SADD", layout.bindings(exchange), member) for exchange, member in bindings]
    return commands


def drop(link: Link, layout: Layout, identity: str, timeout: float) -> None:
    """Delete a consumer's queues with their bindings and the note, but for those that another consumer has as well.

    Raises:
        OperationalError: the connection is lost.
        ChannelError: the server refuses.
    """
    key = layout.temporary(identity)
    found = link.ask("HGETALL", key, timeout=timeout)
    if not found:
        return
    queues = dict(zip(names_of(found[::2]), found[1::2], strict=True))
    others = [
        each for each in names_of(link.ask("ZRANGE", layout.consumers, 0, -1, timeout=timeout)) if each != identity
    ]
    asked: list[Command] = [("HMGET", layout.temporary(each), *queues) for each in others]
    shared: set[str] = set()
    for reply in link.call(asked, timeout) if asked else ():
        shared.update(queue for queue, said in zip(queues, link.answer(reply), strict=True) if said is not None)
    commands: list[Command] = []
    for queue, said in queues.items():
        if queue not in shared:
            commands.append(("DEL", *layout.all_keys(queue)))
            commands += [unbind(layout, exchange, member) for exchange, member in _bindings(said)]
    for reply in link.call([*commands, ("DEL", key)], timeout):
        link.answer(reply)


def unbind(layout: Layout, exchange: str, member: str | bytes) -> Command:
    """The command that takes a binding away."""
    keys = (layout.bindings(exchange), layout.permanent(exchange), layout.deadlines)
    return run(UNBIND, keys, member, exchange)


def _bindings(said: bytes) -> list[tuple[str, str]]:
    try:
        found: Any = json.loads(said)
        return [(str(exchange), str(member)) for exchange, member in found]
    except (ValueError, TypeError):
        return []
