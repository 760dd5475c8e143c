"""SQLite result backend: the embedded default."""

from umbel_backend_sqlite.backend import SqliteBackend

__all__ = ["SqliteBackend"]
