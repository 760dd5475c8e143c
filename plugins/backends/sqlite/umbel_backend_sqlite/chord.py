"""Counting a chord's parts. Works within the caller's transaction."""

from __future__ import annotations

import sqlite3

from umbel_kernel.errors import BackendError
from umbel_kernel.spi.backend import ChordPart

_TOMBSTONE = 86400.0
"""Seconds that a complete chord without an expiry is remembered, to answer parts that come again."""


def count(sqlite: sqlite3.Connection, part: ChordPart, now: float) -> list[bytes] | None:
    """Count a part; the bodies of all, in order, when it is the one that makes the header complete.

    Args:
        now: seconds since the epoch.

    Raises:
        BackendError: the part is none of its header.
    """
    expires = None if part.expires is None else now + part.expires
    row = sqlite.execute(
        "SELECT size, missing, expires FROM umbel_backend_chord WHERE group_id = ?", (part.group_id,)
    ).fetchone()
    if row is not None and row[2] is not None and row[2] <= now:
        forget(sqlite, part.group_id)
        row = None
    if row is None:
        size = missing = part.size
        sqlite.execute("INSERT INTO umbel_backend_chord VALUES (?, ?, ?, ?)", (part.group_id, size, size, expires))
    else:
        size, missing, _ = row
    if not 0 <= part.index < size:
        raise BackendError(
            f"part {part.index} of the chord {part.group_id} is outside its header, which has {size} members"
        )
    if not missing:
        return None
    inserted = sqlite.execute(
        "INSERT OR IGNORE INTO umbel_backend_part VALUES (?, ?, ?, ?)",
        (part.group_id, part.index, part.state, part.body),
    ).rowcount
    if not inserted:
        # It ended before. A success that follows a failure is what the chord shall see.
        sqlite.execute(
            "UPDATE umbel_backend_part SET state = ?, body = ? "
            "WHERE group_id = ? AND place = ? AND state <> 'SUCCESS' AND ? = 'SUCCESS'",
            (part.state, part.body, part.group_id, part.index, part.state),
        )
        return None
    missing -= 1
    if missing:
        sqlite.execute(
            "UPDATE umbel_backend_chord SET missing = ?, expires = ? WHERE group_id = ?",
            (missing, expires, part.group_id),
        )
        return None
    sqlite.execute(
        "UPDATE umbel_backend_chord SET missing = 0, expires = ? WHERE group_id = ?",
        (now + _TOMBSTONE if expires is None else expires, part.group_id),
    )
    rows = sqlite.execute(
        "SELECT body FROM umbel_backend_part WHERE group_id = ? ORDER BY place", (part.group_id,)
    ).fetchall()
    sqlite.execute("DELETE FROM umbel_backend_part WHERE group_id = ?", (part.group_id,))
    return [row[0] for row in rows]


def forget(sqlite: sqlite3.Connection, group_id: str) -> None:
    """Drop a chord with its parts."""
    sqlite.execute("DELETE FROM umbel_backend_part WHERE group_id = ?", (group_id,))
    sqlite.execute("DELETE FROM umbel_backend_chord WHERE group_id = ?", (group_id,))
