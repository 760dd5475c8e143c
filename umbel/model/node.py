"""Names of nodes: ``celery@host``, and the placeholders that users write in them."""

from __future__ import annotations

import functools
import os
import re
import sys

from umbel.model.later import Later

socket = Later("socket")
DEFAULT_NODE = "celery"
_PLACEHOLDER = re.compile(r"%(.)")


@functools.cache
def hostname() -> str:
    """This machine's name."""
    # Where the system's own name is at hand, the library of sockets is not needed for it.
    found: str = os.uname().nodename if hasattr(os, "uname") else socket.gethostname()
    return found


def origin() -> str:
    """The name of a process that is no worker: ``gen<pid>@host``."""
    return f"gen{os.getpid()}@{hostname()}"


def split(nodename: str) -> tuple[str, str]:
    """The name and the host of a node; the name is empty for a bare host."""
    name, at, host = nodename.partition("@")
    return (name, host) if at else ("", name)


def process_index() -> int:
    """Which process of its pool this is, from 1; 0 where it is none."""
    for module in ("billiard.process", "multiprocessing.process"):
        known = sys.modules.get(module)
        if known is None:
            continue
        process = known.current_process()
        index = getattr(process, "index", None)
        if isinstance(index, int) and process.name != "MainProcess":
            return index + 1
    return 0


def expand(text: str, nodename: str = "", *, index: int | None = None) -> str:
    """Replace ``%h`` (host with domain), ``%n`` (its first part), ``%d`` (the domain) and ``%%``.

    Args:
        nodename: a node's full name. With it ``%n`` is the name before the ``@`` and ``%p`` all of it, as they are in
            the names of log and pid files.
        index: of the pool's process, 0 for the worker's own. ``%i`` is that, and ``%I`` too with a hyphen before it,
            or nothing for the worker's own. By default that of this process.
    """
    name, host = split(nodename) if nodename else ("", hostname())
    short, _, domain = host.partition(".")
    index = process_index() if index is None else index
    values = {"h": host, "n": name or short, "d": domain, "p": nodename or host, "%": "%"}
    values |= {"i": str(index), "I": f"-{index}" if index else ""}
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)


def worker_name(given: str | None) -> str:
    """The full name of a worker from what the user gave: None, ``w1``, ``w1@%h`` or ``w1@host``."""
    if not given:
        return f"{DEFAULT_NODE}@{hostname()}"
    given = expand(given)
    return given if "@" in given else f"{given}@{hostname()}"
