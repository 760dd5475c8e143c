"""Ports for private servers."""

from __future__ import annotations

import os
import random
import socket

_FIRST, _LAST = 20_000, 32_000
"""Below those that the system gives out to clients."""

_given: set[int] = set()
_dice = random.Random(os.getpid())


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on at the moment. It is drawn at random, since a server takes it later,
    and another run of this program may be looking for one at the same time."""
    for _ in range(1000):
        port = _dice.randrange(_FIRST, _LAST)
        if port in _given:
            continue
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
        _given.add(port)
        return port
    raise OSError(f"no port is free between {_FIRST} and {_LAST}")
