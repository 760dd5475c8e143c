"""Queues, exchanges and bindings in the database. Every function works within the caller's transaction.

A number in ``umbel_broker_meta`` grows with each change; who caches routes or queue ids compares it first.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterable, Sequence

from umbel_kernel.errors import ChannelError, NotSupported
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Exchange, Queue

MOST_URGENT = 255
EXCHANGE_TYPES = ("direct", "topic", "fanout")


class Target:
    """A queue that a message goes to.

    Attributes:
        id: its row.
        message_ttl: seconds, or None.
        max_priority: the highest that is kept apart.
    """

    __slots__ = ("id", "max_priority", "message_ttl")

    def __init__(self, id: int, message_ttl: float | None, max_priority: int | None) -> None:
        self.id = id
        self.message_ttl = message_ttl
        self.max_priority = MOST_URGENT if max_priority is None else min(max_priority, MOST_URGENT)


def version(sqlite: sqlite3.Connection) -> int:
    return int(sqlite.execute("SELECT value FROM umbel_broker_meta WHERE name = 'topology'").fetchone()[0])


def changed(sqlite: sqlite3.Connection) -> None:
    sqlite.execute("UPDATE umbel_broker_meta SET value = value + 1 WHERE name = 'topology'")


def declare(sqlite: sqlite3.Connection, queue: Queue, now: float, owner: int | None) -> None:
    """Create a queue and its bindings, or check that it is there with these properties.

    Args:
        now: seconds since the epoch.
        owner: the member id of the connection, for an exclusive queue.

    Raises:
        ChannelError: it is there with others, or belongs to another connection.
    """
    wanted = (bool(queue.exclusive), bool(queue.auto_delete), queue.max_priority, queue.expires, queue.message_ttl)
    row = sqlite.execute(
        "SELECT id, declared, exclusive, auto_delete, max_priority, expires, message_ttl, owner "
        "FROM umbel_broker_queue WHERE name = ?",
        (queue.name,),
    ).fetchone()
    if row is None:
        sqlite.execute(
            "INSERT INTO umbel_broker_queue (name, declared, exclusive, auto_delete, max_priority, expires, "
            "message_ttl, owner, used_at) VALUES (?, 1, ?, ?, ?, ?, ?, ?, ?)",
            (queue.name, *wanted, owner if queue.exclusive else None, now),
        )
        changed(sqlite)
    elif not row[1]:
        # A message made it, before anybody said what it is like.
        sqlite.execute(
            "UPDATE umbel_broker_queue SET declared = 1, exclusive = ?, auto_delete = ?, max_priority = ?, "
            "expires = ?, message_ttl = ?, owner = ?, used_at = ? WHERE id = ?",
            (*wanted, owner if queue.exclusive else None, now, row[0]),
        )
        changed(sqlite)
    else:
        if row[2] and queue.exclusive and row[7] is not None and row[7] != owner:
            raise ChannelError(
                f"the queue {queue.name!r} is exclusive to another connection; use another name, or close that one"
            )
        names = ("exclusive", "auto_delete", "max_priority", "expires", "message_ttl")
        there = (bool(row[2]), bool(row[3]), *row[4:7])
        different = [
            f"{name} is {has!r}, not {asked!r}"
            for name, has, asked in zip(names, there, wanted, strict=True)
            if has != asked
        ]
        if different:
            raise ChannelError(
                f"the queue {queue.name!r} is there with other properties: {'; '.join(different)}; "
                f"declare it as it is, or delete it first"
            )
        if row[5] is not None:
            sqlite.execute("UPDATE umbel_broker_queue SET used_at = ? WHERE id = ?", (now, row[0]))
    for binding in queue.bindings:
        bind(sqlite, queue.name, binding.exchange, binding.routing_key)


def bind(sqlite: sqlite3.Connection, queue: str, exchange: Exchange, routing_key: str) -> None:
    """Create the exchange if need be and bind the queue to it.

    Raises:
        ChannelError: no such queue, or the exchange is there with another type.
        NotSupported: an exchange type that the broker has not.
    """
    if exchange.type not in EXCHANGE_TYPES:
        raise NotSupported(
            f"the exchange {exchange.name!r} is of the type {exchange.type!r}; the sqlite broker has "
            f"{', '.join(EXCHANGE_TYPES)}"
        )
    row = sqlite.execute("SELECT id FROM umbel_broker_queue WHERE name = ?", (queue,)).fetchone()
    if row is None:
        raise ChannelError(f"there is no queue {queue!r} to bind to {exchange.name!r}; declare it first")
    if not exchange.name:
        # Every queue is bound to the nameless exchange by its own name, and to nothing else there.
        return
    known = sqlite.execute("SELECT type FROM umbel_broker_exchange WHERE name = ?", (exchange.name,)).fetchone()
    if known is None:
        sqlite.execute("INSERT INTO umbel_broker_exchange VALUES (?, ?)", (exchange.name, exchange.type))
        changed(sqlite)
    elif known[0] != exchange.type:
        raise ChannelError(
            f"the exchange {exchange.name!r} is of the type {known[0]!r}, not {exchange.type!r}; use another name"
        )
    bound = sqlite.execute(
        "INSERT OR IGNORE INTO umbel_broker_binding VALUES (?, ?, ?)", (exchange.name, row[0], routing_key)
    )
    if bound.rowcount:
        changed(sqlite)


def delete(sqlite: sqlite3.Connection, ids: Iterable[int]) -> None:
    """Delete queues by id with what waits in them, and exchanges that bind nothing any more.

    What is held stays until its holder settles it, or goes when it would come back.
    """
    for id in ids:
        purge(sqlite, id)
        for table in ("subscription", "waiter", "binding"):
            sqlite.execute(f"DELETE FROM umbel_broker_{table} WHERE queue = ?", (id,))
        sqlite.execute("DELETE FROM umbel_broker_queue WHERE id = ?", (id,))
        sqlite.execute(
            "DELETE FROM umbel_broker_exchange WHERE name NOT IN (SELECT exchange FROM umbel_broker_binding)"
        )
        changed(sqlite)


def ids_of(sqlite: sqlite3.Connection, names: Sequence[str]) -> dict[str, int]:
    """The ids of those of these queues that are there."""
    found = {}
    for name in names:
        row = sqlite.execute("SELECT id FROM umbel_broker_queue WHERE name = ?", (name,)).fetchone()
        if row is not None:
            found[name] = row[0]
    return found


def purge(sqlite: sqlite3.Connection, id: int) -> int:
    """Drop what waits in a queue, due or not; how many there were."""
    count = 0
    for table in ("ready", "later"):
        # Two statements, and by id: there is no index of messages by queue, so any other way reads all of them.
        sqlite.execute(
            f"DELETE FROM umbel_broker_message WHERE id IN (SELECT id FROM umbel_broker_{table} WHERE queue = ?)", (id,)
        )
        count += sqlite.execute(f"DELETE FROM umbel_broker_{table} WHERE queue = ?", (id,)).rowcount
    return count


def targets(sqlite: sqlite3.Connection, message: Message, now: float) -> tuple[Target, ...]:
    """The queues that a message goes to; the queue that a nameless exchange's key names is made if need be."""
    columns = "q.id, q.message_ttl, q.max_priority"
    if not message.exchange:
        statement = f"SELECT {columns} FROM umbel_broker_queue q WHERE q.name = ?"
        row = sqlite.execute(statement, (message.routing_key,)).fetchone()
        if row is None:
            sqlite.execute(
                "INSERT INTO umbel_broker_queue (name, declared, exclusive, auto_delete, used_at) "
                "VALUES (?, 0, 0, 0, ?)",
                (message.routing_key, now),
            )
            changed(sqlite)
            row = sqlite.execute(statement, (message.routing_key,)).fetchone()
        return (Target(*row),)
    known = sqlite.execute("SELECT type FROM umbel_broker_exchange WHERE name = ?", (message.exchange,)).fetchone()
    if known is None:
        return ()
    rows = sqlite.execute(
        f"SELECT {columns}, b.routing_key FROM umbel_broker_binding b JOIN umbel_broker_queue q ON q.id = b.queue "
        f"WHERE b.exchange = ? ORDER BY q.id",
        (message.exchange,),
    ).fetchall()
    found = {row[0]: Target(*row[:3]) for row in rows if _matches(known[0], row[3], message.routing_key)}
    return tuple(found.values())


def _matches(type: str, pattern: str, key: str) -> bool:
    if type == "fanout":
        return True
    if type == "topic":
        return topic(pattern).fullmatch(key) is not None
    return pattern == key


def topic(pattern: str) -> re.Pattern[str]:
    """A topic pattern as AMQP 0-9-1 means it: ``*`` is one word, ``#`` any number of them."""
    words = pattern.split(".")
    # Two neighbouring # mean one, and would make the search for a match slow.
    words = [word for at, word in enumerate(words) if not (word == "#" and at and words[at - 1] == "#")]
    if words == ["#"]:
        return re.compile(".*", re.DOTALL)
    text = ""
    for at, word in enumerate(words):
        if word == "#":
            text += r"(?:[^.]*(?:\.[^.]*)*\.)?" if at == 0 else r"(?:\.[^.]*)*"
        else:
            separator = r"\." if at and not (at == 1 and words[0] == "#") else ""
            text += separator + (r"[^.]*" if word == "*" else re.escape(word))
    return re.compile(text, re.DOTALL)
