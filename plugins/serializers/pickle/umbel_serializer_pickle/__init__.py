"""Python pickle; refused unless accepted."""

from __future__ import annotations

from umbel_serializer_pickle.serializer import PickleSerializer

__all__ = ["PickleSerializer"]
