"""Installed plugins by entry point, and the door to those of which one is taken by name: only that is imported."""

from __future__ import annotations

import functools
import importlib
from typing import Any, NamedTuple

from umbel_kernel.errors import PluginBroken, PluginConflict, PluginNotFound

KINDS = ("brokers", "backends", "pools", "serializers", "compressors")
HOOKS = "hooks"  # the kind of what takes part all at once, in the group ``umbel`` itself


class Plugin(NamedTuple):
    """An installed plugin, not yet imported: its kind in the plural, the name of its entry point, the distribution that
    offers it with its version, and where its class is, as ``module:class``.
    """

    kind: str
    name: str
    distribution: str
    version: str
    path: str

    def load(self) -> Any:
        """Import it. Raises whatever its module raises, or ``AttributeError``."""
        module, _, attributes = self.path.partition("[")[0].replace(" ", "").partition(":")
        return functools.reduce(getattr, filter(None, attributes.split(".")), importlib.import_module(module))


@functools.cache
def _ask(kind: str) -> list[Plugin]:
    ask = importlib.import_module("importlib.metadata").entry_points
    found = ask(group="umbel" if kind == HOOKS else f"umbel.{kind}")
    return [Plugin(kind, entry.name, entry.dist.name, entry.dist.version, entry.value) for entry in found]


finder: Any = _ask  # Returns the plugins of a kind, and forgets by ``cache_clear``. A quicker one may be put here.


def refresh() -> None:
    """Forget what was found, so that a distribution installed since is seen."""
    finder.cache_clear()
    load.cache_clear()


def installed(kind: str) -> list[Plugin]:
    """Every plugin of a kind, by name, without importing any."""
    return sorted(set(finder(kind)), key=lambda plugin: plugin.name)


@functools.cache
def load(kind: str, name: str) -> type[Any]:
    """Import the class of one of ``KINDS``; ``kombu+sqs`` is answered by ``kombu`` when there is no ``kombu+sqs``.

    Raises:
        PluginNotFound, PluginConflict, PluginBroken: none is there, two are, or it cannot be imported.
    """
    names = list(dict.fromkeys(plugin.name for plugin in installed(kind)))
    wanted = name if name in names else name.partition("+")[0]
    found = [plugin for plugin in installed(kind) if plugin.name == wanted]
    if not found:
        close = importlib.import_module("difflib").get_close_matches(name, names, n=1)
        raise PluginNotFound(kind, name, names, close[0] if close else "")
    if len(found) > 1:
        raise PluginConflict(kind, name, sorted({plugin.distribution for plugin in found}))
    try:
        loaded = found[0].load()
    except Exception as error:
        raise PluginBroken(kind, name, found[0].distribution, f"{type(error).__name__}: {error}") from error
    if not isinstance(loaded, type):
        raise PluginBroken(kind, name, found[0].distribution, f"{found[0].path} is not a class")
    return loaded
