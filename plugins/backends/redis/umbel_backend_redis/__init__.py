"""The Redis result backend, alone and behind Sentinels."""

from __future__ import annotations

from umbel_backend_redis.backend import RedisBackend
from umbel_backend_redis.sentinel import SentinelBackend

__all__ = ["RedisBackend", "SentinelBackend"]
