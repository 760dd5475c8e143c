"""gevent's hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import gevent
from gevent import get_hub, monkey
from greenlet import greenlet

from umbel_client_greenlet.hub import Hub, Pending

NEEDED = ("threading", "socket", "select", "time", "queue")
_READ, _WRITE = 1, 2


class Watcher:
    """A watcher of gevent's loop that frees what it holds when it is cancelled."""

    __slots__ = ("_watcher",)

    def __init__(self, watcher: Any) -> None:
        self._watcher = watcher

    def cancel(self) -> None:
        """Stop it."""
        self._watcher.stop()
        self._watcher.close()


class GeventHub(Hub):
    """gevent's hub of the calling thread."""

    name = "gevent"

    def missing(self) -> list[str]:
        """See ``Hub``."""
        return [module for module in NEEDED if not monkey.is_module_patched(module)]

    def native(self, module: str, name: str) -> Any:
        """See ``Hub``."""
        return monkey.get_original(module, name)

    def spawn(self, run: Callable[..., None], *args: Any) -> greenlet:
        """See ``Hub``."""
        made: greenlet = gevent.spawn(run, *args)
        return made

    def soon(self, call: Callable[..., Any], *args: Any) -> None:
        """See ``Hub``."""
        get_hub().loop.run_callback(call, *args)

    def later(self, seconds: float, call: Callable[..., Any], *args: Any) -> Pending:
        """See ``Hub``."""
        timer = get_hub().loop.timer(seconds)
        timer.start(call, *args)
        return Watcher(timer)

    def watch(self, descriptor: int, *, writing: bool, call: Callable[[], None]) -> Pending:
        """See ``Hub``."""
        watcher = get_hub().loop.io(descriptor, _WRITE if writing else _READ)
        watcher.start(call)
        return Watcher(watcher)

    def wait(self) -> None:
        """See ``Hub``."""
        get_hub().switch()

    def sleep(self, seconds: float) -> None:
        """See ``Hub``."""
        gevent.sleep(seconds)
