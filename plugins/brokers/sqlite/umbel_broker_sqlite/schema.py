"""The broker's tables.

A message's row is written once and deleted once; between the two it is not touched, since it is large. Who may take
it is said by narrow rows beside it: in ``ready`` while it waits, in ``later`` until it is due, and in ``claim`` while a
member holds it, where one row names a whole batch. A trigger writes the first of them, so that a single message takes a
single statement, which is a transaction of its own and half as dear as five.

``message.id`` grows: a new one is above every id of ``message`` and ``claim``, so that a claim whose messages are
gone never names a new one. ``member.id`` is never used twice, which makes it the fence: who lost its row lost its
claims.
"""

from __future__ import annotations

from umbel_client_sqlite import Schema

_STATEMENTS = (
    """CREATE TABLE IF NOT EXISTS umbel_broker_queue (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL UNIQUE,
        declared INTEGER NOT NULL,
        exclusive INTEGER NOT NULL,
        auto_delete INTEGER NOT NULL,
        max_priority INTEGER,
        expires REAL,
        message_ttl REAL,
        owner INTEGER,
        consumed INTEGER NOT NULL DEFAULT 0,
        used_at REAL NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS umbel_broker_exchange (
        name TEXT PRIMARY KEY, type TEXT NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS umbel_broker_binding (
        exchange TEXT NOT NULL, queue INTEGER NOT NULL, routing_key TEXT NOT NULL,
        PRIMARY KEY (exchange, queue, routing_key)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS umbel_broker_message (
        id INTEGER PRIMARY KEY,
        queue INTEGER NOT NULL,
        urgency INTEGER NOT NULL,
        deliveries INTEGER NOT NULL,
        expires REAL,
        due REAL,
        envelope TEXT NOT NULL,
        body BLOB NOT NULL
    )""",
    """CREATE INDEX IF NOT EXISTS umbel_broker_message_expires
        ON umbel_broker_message (expires) WHERE expires IS NOT NULL""",
    """CREATE TABLE IF NOT EXISTS umbel_broker_ready (
        queue INTEGER NOT NULL, urgency INTEGER NOT NULL, id INTEGER NOT NULL, PRIMARY KEY (queue, urgency, id)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS umbel_broker_later (
        due REAL NOT NULL, id INTEGER NOT NULL, queue INTEGER NOT NULL, PRIMARY KEY (due, id)
    ) WITHOUT ROWID""",
    """CREATE TRIGGER IF NOT EXISTS umbel_broker_message_ready AFTER INSERT ON umbel_broker_message
        WHEN new.due IS NULL
        BEGIN INSERT INTO umbel_broker_ready (queue, urgency, id) VALUES (new.queue, new.urgency, new.id); END""",
    """CREATE TRIGGER IF NOT EXISTS umbel_broker_message_later AFTER INSERT ON umbel_broker_message
        WHEN new.due IS NOT NULL
        BEGIN INSERT INTO umbel_broker_later (due, id, queue) VALUES (new.due, new.id, new.queue); END""",
    """CREATE TABLE IF NOT EXISTS umbel_broker_claim (
        last INTEGER NOT NULL, member INTEGER NOT NULL, number INTEGER NOT NULL, ids TEXT NOT NULL,
        PRIMARY KEY (last, member, number)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS umbel_broker_member (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        host TEXT NOT NULL,
        pid INTEGER NOT NULL,
        presence INTEGER NOT NULL,
        beat REAL NOT NULL,
        lease REAL
    )""",
    """CREATE TABLE IF NOT EXISTS umbel_broker_subscription (
        queue INTEGER NOT NULL, member INTEGER NOT NULL, PRIMARY KEY (queue, member)
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS umbel_broker_waiter (
        queue INTEGER NOT NULL, member INTEGER NOT NULL, address TEXT NOT NULL, PRIMARY KEY (queue, member)
    ) WITHOUT ROWID""",
    "INSERT OR IGNORE INTO umbel_broker_meta VALUES ('topology', 1)",
)

SCHEMA = Schema(
    prefix="umbel_broker",
    version=1,
    statements=_STATEMENTS,
    holds="a broker",
    reader="umbel-broker-sqlite",
    advice="drain it with the umbel that wrote it",
)
