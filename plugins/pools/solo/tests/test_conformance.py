"""The suite that every pool passes."""

from __future__ import annotations

from umbel_pool_solo import SoloPool
from umbel_testkit.pool import PoolConformance


class TestSoloPool(PoolConformance):
    pool_class = SoloPool
