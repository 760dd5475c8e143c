"""The input of the demo: the source files of the Python standard library on this machine."""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

ROOT = Path(sysconfig.get_path("stdlib")).resolve()
_INSTALLED = {"site-packages", "dist-packages"}


def sources(limit: int | None = None) -> list[str]:
    """The paths of the files below ``ROOT``, in order of their names, the first ``limit`` of them.

    What has been installed there by package managers does not count.
    """
    found = []
    for folder, inner, names in os.walk(ROOT):
        inner[:] = [name for name in inner if name not in _INSTALLED]
        below = os.path.relpath(folder, ROOT).replace(os.sep, "/")
        prefix = "" if below == "." else f"{below}/"
        # Some systems link single files to places elsewhere, such as /etc; those are not the library's.
        found += [prefix + name for name in names if name.endswith(".py") and _is_inside(ROOT / prefix / name)]
    found.sort()
    return found[:limit]


def read(relative: str) -> bytes:
    """The content of one of the files.

    Raises:
        ValueError: the path leads out of the library; a message must not be able to read other files.
    """
    path = ROOT / relative
    if path.suffix != ".py" or not _is_inside(path):
        raise ValueError(f"{relative!r} is no source file of the standard library")
    return path.read_bytes()


def _is_inside(path: Path) -> bool:
    return path.resolve().is_relative_to(ROOT)
