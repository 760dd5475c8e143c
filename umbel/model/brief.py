"""A short text of a value for logs and headers, whatever its size."""

from __future__ import annotations

import reprlib
from typing import Any

_PLAIN = (int, float, bool, type(None))


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
    if type(value) in _PLAIN:
        return repr(value)
    if type(value) is tuple and all(
        type(member) in _PLAIN or (type(member) is str and len(member) < 100) for member in value[:16]
    ):
        if len(value) <= 16:
            return repr(value)
    elif type(value) is dict and not value:
        return "{}"
    try:
        text = _Brief(longest, levels).repr(value)
    except Exception as error:
        return f"<{type(value).__name__}: its repr raised {type(error).__name__}>"
    return text if len(text) <= longest else text[: longest - 3] + "..."
