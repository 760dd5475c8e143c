"""A pool of coroutines in one event loop."""

from __future__ import annotations

from umbel_pool_asyncio.pool import AsyncioPool

__all__ = ["AsyncioPool"]
