"""A pool of threads."""

from __future__ import annotations

from umbel_pool_threads.pool import ThreadsPool

__all__ = ["ThreadsPool"]
