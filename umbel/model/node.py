"""Names of nodes: ``celery@host``, and the placeholders that users write in them."""

from __future__ import annotations

import functools
import os
import re

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


def expand(text: str, nodename: str = "", **more: str) -> str:
    """Replace ``%h`` (host with domain), ``%n`` (its first part), ``%d`` (the domain), ``%%``, and those in ``more``.

    Args:
        nodename: a node's full name; with it ``%n`` is the node's own name and ``%h`` its full one,
            as they are in the names of log and pid files.
        more: further placeholders by their letter, such as ``i`` and ``I`` for the pool's process.
    """
    name, host = split(nodename) if nodename else ("", hostname())
    short, _, domain = host.partition(".")
    values = {"h": nodename or host, "n": name or short, "d": domain, "%": "%", **more}
    return _PLACEHOLDER.sub(lambda found: values.get(found[1], found[0]), text)


def worker_name(given: str | None) -> str:
    """The full name of a worker from what the user gave: None, ``w1``, ``w1@%h`` or ``w1@host``."""
    if not given:
        return f"{DEFAULT_NODE}@{hostname()}"
    given = expand(given)
    return given if "@" in given else f"{given}@{hostname()}"
