"""The pool of gevent's greenlets passes the pool suite."""

from __future__ import annotations

from umbel_pool_gevent.pool import GeventPool
from umbel_testkit.pool import PoolConformance


class TestGeventPool(PoolConformance):
    pool_class = GeventPool
