"""The Redis result backend."""

from __future__ import annotations

from umbel_backend_redis.backend import RedisBackend

__all__ = ["RedisBackend"]
