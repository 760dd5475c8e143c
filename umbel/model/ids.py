"""Ids of tasks and groups: random UUIDs (RFC 9562, version 4) as text."""

from __future__ import annotations

import os

_urandom = os.urandom
_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def uuid() -> str:
    """A new id, such as ``f81d4fae-7dec-41d0-a765-00a0c91e6bf6``.

    Each asks the system for its random numbers. Numbers kept for later would be given out again by a child, and not
    everybody who forks tells Python of it.
    """
    d = _urandom(16).hex()
    return f"{d[:8]}-{d[8:12]}-4{d[13:16]}-{_VARIANTS[d[16]]}{d[17:20]}-{d[20:]}"
