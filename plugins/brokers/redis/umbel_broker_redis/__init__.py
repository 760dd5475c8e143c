"""The Redis broker."""

from __future__ import annotations

from umbel_broker_redis.broker import RedisBroker

__all__ = ["RedisBroker"]
