"""The suite that every pool passes."""

from __future__ import annotations

from umbel_pool_asyncio import AsyncioPool
from umbel_testkit.pool import PoolConformance


class TestAsyncioPool(PoolConformance):
    pool_class = AsyncioPool
