"""What result backends on a plain key-value store stand on; no plugin itself."""

from __future__ import annotations

from umbel_client_keyvalue.backend import KeyValueBackend

__all__ = ["KeyValueBackend"]
