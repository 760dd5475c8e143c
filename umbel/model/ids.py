"""Ids of tasks and groups: random UUIDs (RFC 9562, version 4) as text."""

from __future__ import annotations

import os

_urandom = os.urandom


def uuid() -> str:
    """A new id, such as ``f81d4fae-7dec-41d0-a765-00a0c91e6bf6``."""
    digits = _urandom(16).hex()
    variant = "89ab"[int(digits[16], 16) & 3]
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
