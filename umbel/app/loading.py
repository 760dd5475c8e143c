"""Import by name, and find the app that a command line names. Names come from the user, never off the wire."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from types import ModuleType
from typing import Any

from umbel_kernel.errors import ConfigurationError


def import_object(path: str) -> Any:
    """The object at ``module:attribute`` or ``module.attribute``.

    Raises:
        ConfigurationError: there is none; says which part is missing.
    """
    module_name, colon, attribute = path.partition(":")
    if not colon:
        module_name, _, attribute = path.rpartition(".")
    if not module_name or not attribute:
        raise ConfigurationError(f"{path!r} is no path of an object; write it as 'package.module:name'")
    try:
        found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ConfigurationError(f"cannot import {path!r}: {error}") from error
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise ConfigurationError(f"cannot import {path!r}: {module_name!r} has no {attribute!r}") from None
    return found


def add_working_directory(directory: str | None = None) -> None:
    """Let modules of the working directory be imported, as a person at the terminal expects."""
    directory = directory or os.getcwd()
    if directory not in sys.path:
        sys.path.insert(0, directory)


def find_app(path: str, is_app: Any) -> Any:
    """The app that ``-A`` names, by Celery's order.

    ``module:name`` is that object, or, when it is a module, looked through in turn. ``module`` is its
    ``app`` or ``celery`` attribute, then its only instance of an app, then the same in its submodule
    ``celery``.

    Args:
        is_app: tells whether an object is an app.

    Raises:
        ConfigurationError: there is none; says what was tried.
    """
    tried: list[str] = []
    module_name, colon, attribute = path.partition(":")
    if colon and attribute:
        found = import_object(path)
        if isinstance(found, ModuleType):
            found = _app_in(found, is_app, tried)
        if found is not None and is_app(found):
            return found
        raise ConfigurationError(f"{path!r} is {type(found).__name__}, not an app made with Umbel(...)")
    module: Any
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and not (module_name == error.name or module_name.startswith(error.name + ".")):
            raise
        module = None
        tried.append(f"module {module_name!r} (there is none in {os.getcwd()} or on sys.path)")
    if module is None:
        parent, _, name = module_name.rpartition(".")
        if parent:
            found = getattr(importlib.import_module(parent), name, None)
            if found is not None and is_app(found):
                return found
    else:
        found = _app_in(module, is_app, tried)
        if found is not None:
            return found
        if hasattr(module, "__path__"):
            for name in (f"{module_name}.celery", f"{module_name}.umbel"):
                if importlib.util.find_spec(name) is None:
                    tried.append(f"module {name!r}")
                    continue
                found = _app_in(importlib.import_module(name), is_app, tried)
                if found is not None:
                    return found
    raise ConfigurationError(f"no app found at {path!r}; tried: {'; '.join(tried)}. Name it as in -A module:app")


def _app_in(module: ModuleType, is_app: Any, tried: list[str]) -> Any:
    for name in ("app", "celery", "umbel"):
        found = getattr(module, name, None)
        if found is not None and is_app(found):
            return found
        tried.append(f"{module.__name__}:{name}")
    apps = {id(found): found for found in vars(module).values() if is_app(found)}
    if len(apps) == 1:
        return next(iter(apps.values()))
    tried.append(f"an app of any name in {module.__name__} ({len(apps)} found)")
    return None


def import_modules(names: Iterable[str]) -> list[ModuleType]:
    """Import modules by name; an error goes to the caller with a note of which name it was."""
    found = []
    for name in names:
        try:
            found.append(importlib.import_module(name))
        except Exception as error:
            error.add_note(f"while importing {name!r}, which the configuration's 'include' or 'imports' names")
            raise
    return found


def related_modules(packages: Iterable[str], related_name: str | None) -> list[str]:
    """Names of the modules ``package.related_name`` that exist; the packages themselves without a related name."""
    if not related_name:
        return list(packages)
    found = []
    for package in packages:
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as error:
            # An AppConfig path of Django, such as "shop.apps.ShopConfig": its package is "shop".
            parent = package.rpartition(".")[0]
            if not parent or error.name not in (package, parent):
                raise
            package = parent.removesuffix(".apps") if parent.endswith(".apps") else parent
            importlib.import_module(package)
        name = f"{package}.{related_name}"
        if hasattr(sys.modules[package], "__path__") and importlib.util.find_spec(name) is not None:
            found.append(name)
    return found
