"""Plugins of which one is taken by name: looked up by entry point, and only that one imported."""

from __future__ import annotations

import difflib
import functools
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from umbel_kernel.errors import PluginBroken, PluginConflict, PluginNotFound

KINDS = ("brokers", "backends", "pools", "serializers", "compressors")


@dataclass(frozen=True, slots=True)
class Plugin:
    """An installed plugin, not yet imported: its kind in the plural, the name of its entry point, the distribution that
    offers it with its version, and where its class is, as ``module:class``.
    """

    kind: str
    name: str
    distribution: str
    version: str
    path: str


@functools.cache
def _found(kind: str) -> Mapping[str, tuple[EntryPoint, ...]]:
    found: dict[str, dict[tuple[str, str], EntryPoint]] = defaultdict(dict)
    for entry in entry_points(group=f"umbel.{kind}"):
        found[entry.name][(_distribution(entry), entry.value)] = entry
    return {name: tuple(entries.values()) for name, entries in sorted(found.items())}


def refresh() -> None:
    """Forget what was found, so that a distribution installed since is seen."""
    _found.cache_clear()
    load.cache_clear()


def installed(kind: str) -> list[Plugin]:
    """Every plugin of a kind, by name, without importing any."""
    return [
        Plugin(kind, name, _distribution(entry), entry.dist.version if entry.dist else "", entry.value)
        for name, entries in _found(kind).items()
        for entry in entries
    ]


@functools.cache
def load(kind: str, name: str) -> type[Any]:
    """Import one plugin's class.

    Args:
        kind: one of ``KINDS``.
        name: its entry point; ``kombu+sqs`` is answered by ``kombu`` when there is no ``kombu+sqs``.

    Raises:
        PluginNotFound, PluginConflict, PluginBroken: none is there, two are, or it cannot be imported.
    """
    found = _found(kind)
    entries = found.get(name) or found.get(name.partition("+")[0], ())
    if not entries:
        close = difflib.get_close_matches(name, found, n=1)
        raise PluginNotFound(kind, name, list(found), close[0] if close else "")
    if len(entries) > 1:
        raise PluginConflict(kind, name, sorted({_distribution(entry) for entry in entries}))
    entry = entries[0]
    try:
        plugin = entry.load()
    except Exception as error:
        raise PluginBroken(kind, name, _distribution(entry), f"{type(error).__name__}: {error}") from error
    if not isinstance(plugin, type):
        raise PluginBroken(kind, name, _distribution(entry), f"{entry.value} is not a class")
    return plugin


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "an unknown distribution"
