"""SQLite broker: the embedded default, durable, for many processes."""

from umbel_broker_sqlite.broker import SqliteBroker

__all__ = ["SqliteBroker"]
