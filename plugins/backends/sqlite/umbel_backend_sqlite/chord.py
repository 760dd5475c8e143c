"""Counting a chord's parts. Works within the caller's transaction; ``now`` is in seconds since the epoch."""

from __future__ import annotations

import sqlite3
from typing import Any

from umbel_kernel.errors import BackendError
from umbel_kernel.spi.backend import CHORD_CLAIM, ChordPart

_TOMBSTONE = 86400.0
"""Seconds that a chord without an expiry is remembered after its end, to answer parts that come again."""

_COLUMNS = "size, missing, expires, claim_place, claim_run, claim_until, ended"
_KEEP = (
    "INSERT INTO umbel_backend_part VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (group_id, place) "
    "DO UPDATE SET state = ?3, body = ?4, fence = ?5 WHERE fence <= ?5 AND (state <> 'SUCCESS' OR ?3 = 'SUCCESS')"
)


def begin(sqlite: sqlite3.Connection, group_id: str) -> None:
    """Forget a chord that has ended, since its header is sent again."""
    over = "SELECT 1 FROM umbel_backend_chord WHERE group_id = ? AND ended IS NOT NULL"
    if sqlite.execute(over, (group_id,)).fetchone() is not None:
        forget(sqlite, group_id)


def count(sqlite: sqlite3.Connection, part: ChordPart, now: float) -> bool:
    """Count a part; whether it is its run's to end the chord.

    Raises:
        BackendError: the part is none of its header.
    """
    group_id, place = part.group_id, part.index
    size, missing, _, claim_place, claim_run, claim_until, ended = _row(sqlite, group_id, part.size, part.expires, now)
    if not 0 <= place < size:
        raise BackendError(f"part {place} of the chord {group_id} is outside its header, which has {size} members")
    if ended is not None:
        return False
    if missing:
        known = sqlite.execute(
            "SELECT 1 FROM umbel_backend_part WHERE group_id = ? AND place = ?", (group_id, place)
        ).fetchone()
        sqlite.execute(_KEEP, (group_id, place, part.state, part.body, part.fence))
        missing -= known is None
        sqlite.execute(
            "UPDATE umbel_backend_chord SET missing = ?, expires = ? WHERE group_id = ?",
            (missing, None if part.expires is None else now + part.expires, group_id),
        )
        if missing:
            return False
    elif place != claim_place and part.run != claim_run and now < claim_until:
        return False
    sqlite.execute(
        "UPDATE umbel_backend_chord SET claim_place = ?, claim_run = ?, claim_until = ? WHERE group_id = ?",
        (place, part.run, now + CHORD_CLAIM, group_id),
    )
    return True


def bodies(sqlite: sqlite3.Connection, group_id: str, run: str) -> list[bytes] | None:
    """The bodies of all, in order, if they are this run's to have."""
    mine = "SELECT 1 FROM umbel_backend_chord WHERE group_id = ? AND missing = 0 AND ended IS NULL AND claim_run = ?"
    if sqlite.execute(mine, (group_id, run)).fetchone() is None:
        return None
    rows = sqlite.execute("SELECT body FROM umbel_backend_part WHERE group_id = ? ORDER BY place", (group_id,))
    return [row[0] for row in rows]


def end(sqlite: sqlite3.Connection, group_id: str, run: str, expires: float | None, now: float) -> bool:
    """Whether this run is the one that counts; the first is."""
    ended = _row(sqlite, group_id, 0, expires, now)[-1]
    if ended is not None:
        return bool(ended == run)
    sqlite.execute(
        "UPDATE umbel_backend_chord SET missing = 0, ended = ?, expires = ? WHERE group_id = ?",
        (run, now + (_TOMBSTONE if expires is None else expires), group_id),
    )
    _drop_parts(sqlite, group_id)
    return True


def add(
    sqlite: sqlite3.Connection, group_id: str, size: int, member: str, expires: float | None, now: float
) -> int | None:
    """Make room for one more member; its index, or None when all are in."""
    size, missing, *_ = _row(sqlite, group_id, size, expires, now)
    if not missing:
        return None
    known = sqlite.execute(
        "SELECT place FROM umbel_backend_added WHERE group_id = ? AND member = ?", (group_id, member)
    ).fetchone()
    if known is not None:
        return int(known[0])
    sqlite.execute("INSERT INTO umbel_backend_added VALUES (?, ?, ?)", (group_id, member, size))
    sqlite.execute(
        "UPDATE umbel_backend_chord SET size = size + 1, missing = missing + 1 WHERE group_id = ?", (group_id,)
    )
    return size


def forget(sqlite: sqlite3.Connection, group_id: str) -> None:
    """Drop all that is known of a chord."""
    _drop_parts(sqlite, group_id)
    sqlite.execute("DELETE FROM umbel_backend_chord WHERE group_id = ?", (group_id,))


def _drop_parts(sqlite: sqlite3.Connection, group_id: str) -> None:
    sqlite.execute("DELETE FROM umbel_backend_part WHERE group_id = ?", (group_id,))
    sqlite.execute("DELETE FROM umbel_backend_added WHERE group_id = ?", (group_id,))


def _row(sqlite: sqlite3.Connection, group_id: str, size: int, expires: float | None, now: float) -> tuple[Any, ...]:
    """What is known of a chord; it is made when it is not there or has expired."""
    found: tuple[Any, ...] | None = sqlite.execute(
        f"SELECT {_COLUMNS} FROM umbel_backend_chord WHERE group_id = ?", (group_id,)
    ).fetchone()
    if found is not None and (found[2] is None or found[2] > now):
        return found
    if found is not None:
        forget(sqlite, group_id)
    until = None if expires is None else now + expires
    made = (size, size, until, None, None, None, None)
    sqlite.execute("INSERT INTO umbel_backend_chord VALUES (?, ?, ?, ?, ?, ?, ?, ?)", (group_id, *made))
    return made
