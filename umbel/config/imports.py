"""Importing what a configuration names, from the working directory too."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

_path_lock = threading.RLock()


@contextmanager
def working_directory_importable() -> Iterator[None]:
    """While it lasts, the working directory is the first place that modules are looked for."""
    here = os.getcwd()
    with _path_lock:
        if here in sys.path:
            yield
            return
        sys.path.insert(0, here)
        try:
            yield
        finally:
            if here in sys.path:
                sys.path.remove(here)


def import_module(name: str) -> ModuleType:
    """Import a module by its dotted name.

    Raises:
        ImportError: there is no such module, or it cannot be imported.
    """
    with working_directory_importable():
        return importlib.import_module(name)


def import_object(path: str) -> Any:
    """Import what ``package.module:attribute``, ``package.module`` or ``package.module.attribute`` names.

    Raises:
        ImportError: there is no such module, or it cannot be imported.
        AttributeError: the module has no such attribute.
    """
    module, colon, attribute = path.partition(":")
    if colon:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
        return found
    try:
        return import_module(path)
    except ModuleNotFoundError as error:
        parent, dot, attribute = path.rpartition(".")
        # Only what was asked for may be missing: another module that is missing inside it is that module's own fault.
        if not dot or error.name is None or not (path == error.name or path.startswith(f"{error.name}.")):
            raise
        try:
            return getattr(import_module(parent), attribute)
        except AttributeError:
            raise error from None


def import_file(path: str) -> ModuleType:
    """Run a Python file as a module that is not kept in ``sys.modules``.

    Raises:
        ImportError: it cannot be loaded.
        OSError: it cannot be read.
    """
    spec = importlib.util.spec_from_file_location("umbel_configuration_file", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path!r} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    with working_directory_importable():
        spec.loader.exec_module(module)
    return module
