"""Results for people and for shell scripts."""

from __future__ import annotations

import json
from typing import Any


def shown(value: Any) -> str:
    """A result as a line: text as it is, what JSON can say as JSON, the rest as Python shows it."""
    if isinstance(value, str):
        return value
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return repr(value)
