"""SQLite result backend: the embedded default."""
