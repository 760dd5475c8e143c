"""JSON with Celery's type tags."""

from __future__ import annotations

from umbel_serializer_json.serializer import JsonSerializer
from umbel_serializer_json.tags import register_type

__all__ = ["JsonSerializer", "register_type"]
