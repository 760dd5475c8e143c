"""How deeply a JSON text nests, found out without parsing it."""

from __future__ import annotations

from itertools import accumulate

DEEPEST = 900
"""Levels that are read; a little less than what the decoder of CPython 3.11 can do."""

_KINDS = bytes(1 if byte in b"[{" else 2 if byte in b"]}" else 0 for byte in range(256))
_OTHERS = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEPS = (0, 1, -1)
_PASSES = 8


def nests_too_deeply(data: bytes) -> bool:
    """Whether arrays and objects nest more than ``DEEPEST`` levels. Of a text that is no JSON it may say either."""
    if data.count(b"[") + data.count(b"{") <= DEEPEST:
        return False
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(data.split(b'"')[::2]).translate(_KINDS, _OTHERS)
    deepest = DEEPEST
    for _ in range(_PASSES):  # what is wide and shallow, as nearly all is, soon has no pairs left
        brackets = brackets.replace(b"\1\2", b"")
        deepest -= 1
        if len(brackets) <= deepest:
            return False
    return any(map(deepest.__lt__, accumulate(map(_STEPS.__getitem__, brackets))))
