"""The name of a process in ``ps``."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable

_show: Callable[[str], None] | None = None
if importlib.util.find_spec("setproctitle") is not None:
    _show = importlib.import_module("setproctitle").setproctitle


def set_title(text: str) -> None:
    """Show a text as this process's name, where the package ``setproctitle`` is installed."""
    if _show is not None:
        _show(text)
