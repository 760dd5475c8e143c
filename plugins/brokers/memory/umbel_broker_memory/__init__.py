"""An in-process broker: an honest fake of the real ones, for tests and single-process programs."""

from __future__ import annotations

from umbel_broker_memory.broker import MemoryBroker

__all__ = ["MemoryBroker"]
