"""SQLite broker: the embedded default, durable, for many processes."""
