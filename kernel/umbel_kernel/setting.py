"""A setting that a plugin or the framework declares beside the class that reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Setting:
    """One named, typed setting.

    Attributes:
        name: the flat name, such as ``redis_socket_timeout``.
        type: the name of its type: ``bool``, ``int``, ``float``, ``str``, ``list``, ``dict``, ``any``.
        default: the value when it is not set.
        help: one sentence on what it does, with its unit.
        choices: when not empty, the only values allowed.
    """

    name: str
    type: str
    default: Any
    help: str
    choices: tuple[Any, ...] = ()
