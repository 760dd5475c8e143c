"""A pool of one: jobs run one after the other in the main thread."""

from __future__ import annotations

from umbel_pool_solo.pool import SoloPool

__all__ = ["SoloPool"]
