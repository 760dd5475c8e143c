"""The suite that every pool passes."""

from __future__ import annotations

from umbel_pool_prefork import PreforkPool
from umbel_testkit.pool import PoolConformance


class TestPreforkPool(PoolConformance):
    pool_class = PreforkPool
