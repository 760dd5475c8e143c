"""The front of the queues: what is to be delivered next. Works within the caller's transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

Row = tuple[int, int, int, float | None, str, bytes]
"""Urgency, id, deliveries before, moment of expiry, envelope and body of a message."""

_DUE_AT_ONCE = 1000
"""The most messages that one claim moves from ``later`` to ``ready``."""

_TAKE = (
    "SELECT r.urgency, r.id, m.deliveries, m.expires, m.envelope, m.body "
    "FROM umbel_broker_ready r CROSS JOIN umbel_broker_message m ON m.id = r.id "
    "WHERE r.queue = ? ORDER BY r.urgency, r.id LIMIT ?"
)
_FRONT = "SELECT urgency, id FROM umbel_broker_ready WHERE queue = ? ORDER BY urgency, id LIMIT ?"
_TAKEN = "DELETE FROM umbel_broker_ready WHERE queue = ? AND (urgency, id) <= (?, ?)"


def front(sqlite: sqlite3.Connection, queues: Mapping[int, str], limit: int) -> list[tuple[str, Row]]:
    """Take up to so many from the front of the queues: the most urgent first, then the oldest."""
    if len(queues) == 1:
        ((queue, name),) = queues.items()
        rows = sqlite.execute(_TAKE, (queue, limit)).fetchall()
        if rows:
            sqlite.execute(_TAKEN, (queue, rows[-1][0], rows[-1][1]))
        return [(name, row) for row in rows]
    fronts = []
    for queue in queues:
        fronts += [(*row, queue) for row in sqlite.execute(_FRONT, (queue, limit)).fetchall()]
    fronts.sort()
    counts: dict[int, int] = {}
    for _, _, queue in fronts[:limit]:
        counts[queue] = counts.get(queue, 0) + 1
    found = []
    for queue, count in counts.items():
        rows = sqlite.execute(_TAKE, (queue, count)).fetchall()
        if rows:
            sqlite.execute(_TAKEN, (queue, rows[-1][0], rows[-1][1]))
        found += [(queues[queue], row) for row in rows]
    found.sort(key=lambda item: item[1][:2])
    return found


def fall_due(sqlite: sqlite3.Connection, now: float) -> float | None:
    """Move what is due to where it can be taken; when the next is due."""
    rows = sqlite.execute(
        "SELECT l.due, l.id, m.queue, m.urgency FROM umbel_broker_later l "
        "LEFT JOIN umbel_broker_message m ON m.id = l.id WHERE l.due <= ? ORDER BY l.due, l.id LIMIT ?",
        (now, _DUE_AT_ONCE),
    ).fetchall()
    sqlite.executemany(
        "INSERT OR IGNORE INTO umbel_broker_ready VALUES (?, ?, ?)",
        [(row[2], row[3], row[1]) for row in rows if row[2] is not None],
    )
    sqlite.executemany("DELETE FROM umbel_broker_later WHERE due = ? AND id = ?", [row[:2] for row in rows])
    due: float | None = sqlite.execute("SELECT min(due) FROM umbel_broker_later").fetchone()[0]
    return due
