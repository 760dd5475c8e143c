"""Modules that few programs need, imported when something of them is first used."""

from __future__ import annotations

import importlib
from typing import Any

from umbel.model.forking import importing


class Later:
    """Stands for a module. ``zoneinfo`` and ``socket``, for example, take 2 ms each to import.

    A module of our own is imported under ``if TYPE_CHECKING`` as well, so that types and floors are checked. A name is
    looked up once: what a test puts in its place in the module is not seen here.

    Args:
        name: of a module that is always there.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        with importing:
            found = getattr(importlib.import_module(self._name), attribute)
        # In the instance's own dict it is found before this method, at no further cost.
        self.__dict__[attribute] = found
        return found
