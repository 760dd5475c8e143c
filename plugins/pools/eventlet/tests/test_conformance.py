"""The pool of eventlet's greenlets passes the pool suite."""

from __future__ import annotations

from umbel_pool_eventlet.pool import EventletPool
from umbel_testkit.pool import PoolConformance


class TestEventletPool(PoolConformance):
    pool_class = EventletPool
