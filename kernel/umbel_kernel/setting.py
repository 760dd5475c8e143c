"""A setting that a plugin or the framework declares beside the class that reads it."""

from __future__ import annotations

from typing import Any, NamedTuple


class Setting(NamedTuple):
    """One named, typed setting."""

    name: str  # the flat name, such as ``redis_socket_timeout``
    type: str  # the name of its type: ``bool``, ``int``, ``float``, ``str``, ``list``, ``dict``, ``any``
    default: Any  # the value when it is not set
    help: str  # one sentence on what it does, with its unit
    choices: tuple[Any, ...] = ()  # when not empty, the only values allowed
