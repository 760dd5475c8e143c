"""Where a configuration is read from: a module, a class, an object, a mapping or a Python file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

from umbel.config.errors import SourceError
from umbel.config.imports import import_file, import_object


class Source(NamedTuple):
    """What a configuration is read from.

    Attributes:
        origin: what it is, for messages: ``config module 'celeryconfig'``.
        names: every name in it.
        get: the value of one of these names.
        strict: whether it holds settings and nothing else, so that each unknown name is an error.
    """

    origin: str
    names: tuple[str, ...]
    get: Callable[[str], Any]
    strict: bool


def open_source(what: Any) -> Source:
    """Find the source of a configuration.

    Args:
        what: a mapping, module, class or object, or a string that names one: ``package.module``,
            ``package.module:attribute``, ``package.module.attribute``, or the path of a ``.py`` file.

    Raises:
        SourceError: a string names nothing that can be imported; chained to the reason.
    """
    if isinstance(what, str):
        return _named(what)
    if isinstance(what, os.PathLike):
        return _named(os.fsdecode(what))
    if isinstance(what, Mapping):
        return _of_mapping(what, "the config dict")
    if isinstance(what, ModuleType):
        return _of_object(what, f"config module {what.__name__!r}")
    if isinstance(what, type):
        return _of_object(what, f"config class {what.__module__}.{what.__qualname__}")
    return _of_object(what, f"config object of {type(what).__module__}.{type(what).__qualname__}")


def _named(name: str) -> Source:
    if name.endswith(".py") and os.path.exists(name):
        try:
            return _of_object(import_file(name), f"config file {name!r}")
        except (ImportError, OSError) as error:
            raise SourceError(f"config file {name!r} cannot be read: {type(error).__name__}: {error}") from error
    try:
        found = import_object(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise SourceError(_why_not(name, error)) from error
    if isinstance(found, ModuleType):
        return _of_object(found, f"config module {name!r}")
    if isinstance(found, Mapping):
        return _of_mapping(found, f"config dict {name!r}")
    return _of_object(found, f"config object {name!r}")


def _why_not(name: str, error: Exception) -> str:
    module = name.partition(":")[0]
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing and (module == missing or module.startswith(f"{missing}.")):
        if name.endswith(".py"):
            return f"there is no config file {name!r} in {os.getcwd()}; a module is named without '.py': {name[:-3]!r}"
        return (
            f"there is no config module {name!r}: no module named {missing!r} in {os.getcwd()} nor on sys.path; "
            f"check the spelling, and start where it can be imported"
        )
    return f"config module {name!r} cannot be imported: {type(error).__name__}: {error}"


def _of_mapping(found: Mapping[Any, Any], origin: str) -> Source:
    values = {str(name): value for name, value in found.items()}
    return Source(origin, tuple(values), values.__getitem__, strict=True)


def _of_object(found: Any, origin: str) -> Source:
    names = vars(found) if isinstance(found, ModuleType) else dir(found)
    return Source(
        origin, tuple(name for name in names if not name.startswith("_")), lambda name: getattr(found, name), False
    )
