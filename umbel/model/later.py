"""Modules that few programs need, imported when something of them is first used."""

from __future__ import annotations

import importlib
from typing import Any

from umbel.model.forking import importing


class Later:
    """Stands for a module. ``zoneinfo`` and ``socket``, for example, take 2 ms each to import.

    Args:
        name: of a module that is always there.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        with importing:
            return getattr(importlib.import_module(self._name), attribute)
