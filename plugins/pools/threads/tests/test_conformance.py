"""The suite that every pool passes."""

from __future__ import annotations

from umbel_pool_threads import ThreadsPool
from umbel_testkit.pool import PoolConformance


class TestThreadsPool(PoolConformance):
    pool_class = ThreadsPool
