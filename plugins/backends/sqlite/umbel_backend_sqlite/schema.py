"""The backend's tables.

A chord's parts are rows of their own beside a row that counts down, so a part costs the same whatever the size of the
header. That row stays after the end, to answer parts that come late; until then it says who was given all parts, and
until when that one has them alone.
"""

from __future__ import annotations

from umbel_client_sqlite import Schema

_STATEMENTS = (
    """CREATE TABLE IF NOT EXISTS umbel_backend_result (
        task_id TEXT PRIMARY KEY,
        state TEXT NOT NULL,
        content_type TEXT NOT NULL,
        content_encoding TEXT NOT NULL,
        expires REAL,
        body BLOB NOT NULL,
        fence INTEGER NOT NULL
    )""",
    """CREATE INDEX IF NOT EXISTS umbel_backend_result_expires
        ON umbel_backend_result (expires) WHERE expires IS NOT NULL""",
    """CREATE TABLE IF NOT EXISTS umbel_backend_group (
        group_id TEXT PRIMARY KEY, expires REAL, body BLOB NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS umbel_backend_chord (
        group_id TEXT PRIMARY KEY, size INTEGER NOT NULL, missing INTEGER NOT NULL, expires REAL,
        claim_place INTEGER, claim_run TEXT, claim_until REAL, ended TEXT
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS umbel_backend_part (
        group_id TEXT NOT NULL, place INTEGER NOT NULL, state TEXT NOT NULL, body BLOB NOT NULL,
        fence INTEGER NOT NULL, PRIMARY KEY (group_id, place)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS umbel_backend_added (
        group_id TEXT NOT NULL, member TEXT NOT NULL, place INTEGER NOT NULL, PRIMARY KEY (group_id, member)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS umbel_backend_waiter (
        task_id TEXT NOT NULL, address TEXT NOT NULL, PRIMARY KEY (task_id, address)
    ) WITHOUT ROWID""",
    "CREATE INDEX IF NOT EXISTS umbel_backend_waiter_address ON umbel_backend_waiter (address)",
)

SCHEMA = Schema(
    prefix="umbel_backend",
    version=3,
    statements=_STATEMENTS,
    holds="results",
    reader="umbel-backend-sqlite",
    advice="read them with the umbel that wrote them",
)
