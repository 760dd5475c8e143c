"""A pool of threads."""

from __future__ import annotations

from umbel_pool_threads.limits import Run, SoftLimits, raise_in
from umbel_pool_threads.pool import ThreadsPool

__all__ = ["Run", "SoftLimits", "ThreadsPool", "raise_in"]
