"""Members: who holds messages or owns queues, and what becomes of those when a member goes.

A member is a consumer, or a connection that owns an exclusive queue. It dies when the lock on its byte of the members
file is free (``presence``), within one sweep of its death. A consumer that lives and shows no sign of life for a
lease, because it is stopped or hangs, loses what it holds, too. Signs of life are in the seconds of the system's
monotonic clock, which all processes of a host share and nobody sets: a jump of the wall clock takes nothing from
anyone. After a restart of the machine no member's lock is held, so those old seconds are never compared.
"""

from __future__ import annotations

import os
import socket
import sqlite3
from collections.abc import Iterable, Sequence

from umbel_broker_sqlite import topology
from umbel_broker_sqlite.presence import Presence
from umbel_kernel.clock import Clock

_EXPIRED_AT_ONCE = 1000
"""The most expired messages that one sweep drops, so that no sweep holds others up for long."""


def join(sqlite: sqlite3.Connection, presence: Presence, name: str, lease: float | None, beat: float) -> int:
    """A new member's id; its lock is held before anybody can see the row.

    Args:
        lease: seconds, or None for a member that is judged by its lock alone.
        beat: now, of the monotonic clock.
    """
    row = sqlite.execute(
        "INSERT INTO umbel_broker_member (name, host, pid, presence, beat, lease) "
        "VALUES (?, ?, ?, ?, ?, ?) RETURNING id",
        (name, socket.gethostname(), os.getpid(), presence.identity, beat, lease),
    ).fetchone()
    presence.hold(row[0])
    return int(row[0])


def give_back(sqlite: sqlite3.Connection, ids: Sequence[int], due: float | None = None) -> None:
    """Make messages that were held deliverable again, in their old place, with one more delivery counted.

    Args:
        due: seconds since the epoch from when on; None for now. What waits until then was not tried, so it does not
            count.
    """
    for id in ids:
        row = sqlite.execute(
            "UPDATE umbel_broker_message SET deliveries = deliveries + ? WHERE id = ? RETURNING queue, urgency",
            (due is None, id),
        ).fetchall()
        for queue, urgency in row:
            if sqlite.execute("SELECT 1 FROM umbel_broker_queue WHERE id = ?", (queue,)).fetchone() is None:
                # Its queue was deleted while it was held.
                sqlite.execute("DELETE FROM umbel_broker_message WHERE id = ?", (id,))
            elif due is None:
                sqlite.execute("INSERT OR IGNORE INTO umbel_broker_ready VALUES (?, ?, ?)", (queue, urgency, id))
            else:
                sqlite.execute("INSERT OR IGNORE INTO umbel_broker_later VALUES (?, ?, ?)", (due, id, queue))


def leave(sqlite: sqlite3.Connection, member: int, now: float) -> set[int]:
    """Take a member away with all it has: its claims go back, its auto-delete and exclusive queues go.

    Returns:
        the ids of the queues to which something came back.
    """
    rows = sqlite.execute("SELECT ids FROM umbel_broker_claim WHERE member = ?", (member,)).fetchall()
    held = sorted({id for (ids,) in rows for id in map(int, ids.split(",")) if ids})
    queues: set[int] = set()
    for id in held:
        queues.update(row[0] for row in sqlite.execute("SELECT queue FROM umbel_broker_message WHERE id = ?", (id,)))
    give_back(sqlite, held)
    sqlite.execute("DELETE FROM umbel_broker_claim WHERE member = ?", (member,))
    sqlite.execute("DELETE FROM umbel_broker_waiter WHERE member = ?", (member,))
    sqlite.execute(
        "UPDATE umbel_broker_queue SET used_at = ? "
        "WHERE id IN (SELECT queue FROM umbel_broker_subscription WHERE member = ?)",
        (now, member),
    )
    left = sqlite.execute(
        "DELETE FROM umbel_broker_subscription WHERE member = ? RETURNING queue", (member,)
    ).fetchall()
    gone = {
        row[0]
        for queue in left
        for row in sqlite.execute(
            "SELECT id FROM umbel_broker_queue WHERE id = ? AND auto_delete "
            "AND NOT EXISTS (SELECT 1 FROM umbel_broker_subscription WHERE queue = id)",
            queue,
        ).fetchall()
    }
    gone.update(row[0] for row in sqlite.execute("SELECT id FROM umbel_broker_queue WHERE owner = ?", (member,)))
    topology.delete(sqlite, gone)
    sqlite.execute("DELETE FROM umbel_broker_member WHERE id = ?", (member,))
    return queues - gone


def lost(sqlite: sqlite3.Connection, presence: Presence, clock: Clock) -> list[int]:
    """The members that are dead or silent for longer than their lease. Only reads."""
    now = clock.monotonic()
    rows = sqlite.execute("SELECT id, presence, beat, lease FROM umbel_broker_member").fetchall()
    found = []
    for id, file, beat, lease in rows:
        # A sign of life from the future is of the time before the machine was started, and its lock file is gone.
        silent = lease is not None and (beat + lease < now or beat > now + 1.0)
        if silent or (file == presence.identity and presence.is_dead(id)):
            found.append(id)
    return found


def unused(sqlite: sqlite3.Connection, now: float) -> list[int]:
    """The queues that nobody used for longer than their ``expires``. Only reads."""
    rows = sqlite.execute(
        "SELECT id FROM umbel_broker_queue WHERE expires IS NOT NULL AND used_at + expires < ? "
        "AND NOT EXISTS (SELECT 1 FROM umbel_broker_subscription WHERE queue = id)",
        (now,),
    ).fetchall()
    return [row[0] for row in rows]


def drop_expired(sqlite: sqlite3.Connection, now: float) -> int:
    """Drop waiting messages whose time is over; held ones stay. Returns how many."""
    rows = sqlite.execute(
        "SELECT m.id, m.queue, m.urgency FROM umbel_broker_message m WHERE m.expires < ?1 AND EXISTS "
        "(SELECT 1 FROM umbel_broker_ready r WHERE r.queue = m.queue AND r.urgency = m.urgency AND r.id = m.id) "
        "LIMIT ?2",
        (now, _EXPIRED_AT_ONCE),
    ).fetchall()
    sqlite.executemany("DELETE FROM umbel_broker_ready WHERE queue = ?2 AND urgency = ?3 AND id = ?1", rows)
    sqlite.executemany("DELETE FROM umbel_broker_message WHERE id = ?", [row[:1] for row in rows])
    return len(rows)


def waiters_of(sqlite: sqlite3.Connection, queues: Iterable[int]) -> list[str]:
    """Whom to ring for these queues."""
    wanted = set(queues)
    if not wanted:
        return []
    rows = sqlite.execute("SELECT queue, address FROM umbel_broker_waiter").fetchall()
    return list(dict.fromkeys(address for queue, address in rows if queue in wanted))
