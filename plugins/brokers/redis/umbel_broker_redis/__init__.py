"""The Redis broker, alone and behind Sentinels."""

from __future__ import annotations

from umbel_broker_redis.broker import RedisBroker
from umbel_broker_redis.sentinel import SentinelBroker

__all__ = ["RedisBroker", "SentinelBroker"]
