"""A pool of forked processes."""

from __future__ import annotations

from umbel_pool_prefork.pool import PreforkPool

__all__ = ["PreforkPool"]
