"""The plugins of installed distributions, read from their folders.

``importlib.metadata`` tells the same, but its import takes longer than that of the whole kernel: it brings parsers of
e-mail, CSV and zip files. So it is asked only where the path has something else than folders.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from umbel_kernel.plugins import HOOKS, Plugin

_FILE = "entry_points.txt"
_HEAD = 4096


class Distribution(NamedTuple):
    """A distribution that has to do with umbel: its name, its version, and the text of its entry points."""

    name: str
    version: str
    text: str


class Finder:
    """Finds plugins for ``umbel_kernel.plugins``."""

    def __call__(self, kind: str) -> list[Plugin]:
        """The plugins of a kind. Of two distributions of one name, the first on the path counts."""
        return [plugin for each in distributions(path()) for plugin in _parse(each) if plugin.kind == kind]

    def cache_clear(self) -> None:
        """Read all anew when next asked."""
        distributions.cache_clear()
        _read_folder.cache_clear()


@functools.cache
def distributions(path: tuple[str, ...]) -> Sequence[Distribution]:
    """Those that can be imported from these places and whose entry points name umbel."""
    first: dict[str, Distribution | None] = {}
    if _plain(path):
        for place in path:
            for name, folder in _folders(os.path.abspath(place)).items():
                if name not in first:
                    first[name] = _read_folder(folder)
    else:
        for found in importlib.import_module("importlib.metadata").distributions(path=list(path)):
            first.setdefault(normal(found.name), Distribution(found.name, found.version, found.read_text(_FILE) or ""))
    return [found for found in first.values() if found is not None and "umbel" in found.text]


def path() -> tuple[str, ...]:
    """The places that modules are imported from."""
    return tuple(place for place in sys.path if isinstance(place, str))


def _plain(path: Sequence[str]) -> bool:
    """Whether all that can be imported is in folders: no zip file, no egg, no finder of somebody's own."""
    finders = [finder for finder in sys.meta_path if hasattr(finder, "find_distributions")]
    return len(finders) < 2 and not any(place.endswith(".egg") or os.path.isfile(place) for place in path)


def _folders(place: str) -> dict[str, str]:
    """Where the metadata of each distribution in one place of the path is."""
    try:
        names = os.listdir(place)
    except OSError:
        return {}
    infos = (name for name in names if name.endswith((".dist-info", ".egg-info")))
    return {normal(name.rpartition(".")[0].partition("-")[0]): os.path.join(place, name) for name in infos}


@functools.cache
def _read_folder(folder: str) -> Distribution | None:
    text = _read(folder, _FILE)
    if "umbel" not in text:
        return None
    head = _read(folder, "METADATA", _HEAD) or _read(folder, "PKG-INFO", _HEAD)
    facts = dict(line.partition(": ")[::2] for line in head.partition("\n\n")[0].splitlines())
    return Distribution(facts.get("Name", "an unknown distribution").strip(), facts.get("Version", "").strip(), text)


def _parse(distribution: Distribution) -> Iterator[Plugin]:
    group = kind = ""
    for line in map(str.strip, distribution.text.splitlines()):
        if line.startswith("["):
            group, _, kind = line.strip("[] ").partition(".")
        elif group == "umbel" and line and not line.startswith("#"):
            name, _, path = map(str.strip, line.partition("="))
            yield Plugin(kind or HOOKS, name, distribution.name, distribution.version, path)


def _read(folder: str, name: str, most: int = -1) -> str:
    try:
        with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
            return file.read(most)
    except OSError:
        return ""


def normal(name: str) -> str:
    """A distribution's name as it is compared."""
    return name.lower().replace("-", "_").replace(".", "_")
