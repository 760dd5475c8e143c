"""The entry point ``umbel``: a worker's pool may have to prepare the process before anything else is imported.

A pool of greenlets replaces the blocking parts of the standard library, and what was imported before that may have
kept the old ones. So a distribution may name a function in the entry-point group ``umbel.prepare``, under its pool's
name; it is called here, when the command line asks for that pool, and next to nothing is imported before.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence


def main() -> int:
    """Run the command line of this process. Returns the exit code; ``umbel.cli.main.main`` says which."""
    pool = pool_of(sys.argv[1:])
    if pool is not None:
        prepare(pool)
    code: int = importlib.import_module("umbel.cli.main").main()
    return code


def pool_of(words: Sequence[str]) -> str | None:
    """The pool that the words of a command line give to a worker; None when they start none, or leave it to settings.

    Options are only looked for, not checked: the command does that.
    """
    if "worker" not in words:
        return None
    found = os.environ.get("CELERY_CUSTOM_WORKER_POOL")
    left = iter(words[words.index("worker") + 1 :])
    for word in left:
        if word == "--":
            break
        if word in ("-P", "--pool"):
            found = next(left, None)
        elif word.startswith("--pool="):
            found = word.partition("=")[2]
        elif word.startswith("-P"):
            found = word[2:]
    return found or None


def prepare(pool: str) -> None:
    """Let the pool's distribution prepare this process, if it has something to prepare.

    Raises:
        SystemExit: it cannot; says why.
    """
    # By name, so that other command lines do without it.
    find = importlib.import_module("umbel.model.installed").Finder()
    for plugin in find("prepare"):
        if plugin.name == pool:
            try:
                plugin.load()()
            except Exception as error:
                raise SystemExit(
                    f"Error: {plugin.distribution} cannot prepare this process for the pool {pool!r}: "
                    f"{type(error).__name__}: {error}"
                ) from error
            return
