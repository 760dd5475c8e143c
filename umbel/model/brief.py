"""A short text of a value for logs and headers, whatever its size."""

from __future__ import annotations

import reprlib
from typing import Any

_PLAIN = frozenset((int, float, bool, type(None)))


class _Brief(reprlib.Repr):
    def __init__(self, longest: int, levels: int) -> None:
        super().__init__()
        self.maxlevel = levels
        self.maxstring = self.maxother = min(longest, 256)
        self.maxlong = 64
        self.maxtuple = self.maxlist = self.maxdict = self.maxset = self.maxfrozenset = self.maxdeque = 32


def brief(value: Any, longest: int = 1024, levels: int = 3) -> str:
    """``repr`` of a value, cut where it nests deeper than ``levels`` or grows longer than ``longest`` characters.

    It never raises: a value whose ``repr`` fails is described by its type.
    """
    try:
        text = repr(value) if _is_plain(value, min(levels, 3) - 1) else _Brief(longest, levels).repr(value)
    except Exception as error:
        return f"<{type(value).__name__}: its repr raised {type(error).__name__}>"
    return text if len(text) <= longest else text[: longest - 3] + "..."


def _is_plain(value: Any, levels: int = 2) -> bool:
    """Whether the value's own ``repr`` is short and shallow: what most tasks are called with."""
    kind = type(value)
    if kind is tuple or kind is list:
        members = value
    elif kind is dict:
        members = (*value, *value.values())
    else:
        return kind in _PLAIN
    if len(members) > 16:
        return False
    for member in members:
        kind = type(member)
        if kind is str:
            if len(member) >= 64:
                return False
        elif kind not in _PLAIN and not (levels and _is_plain(member, levels - 1)):
            return False
    return True
