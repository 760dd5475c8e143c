"""An in-process result backend: an honest fake of the real ones, for tests and single-process programs."""

from __future__ import annotations

from umbel_backend_memory.backend import MemoryBackend

__all__ = ["MemoryBackend"]
