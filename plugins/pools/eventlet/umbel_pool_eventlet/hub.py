"""eventlet's hub."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import eventlet
from eventlet import hubs, patcher
from greenlet import greenlet

from umbel_client_greenlet.hub import Hub, Pending

NEEDED = ("thread", "socket", "select", "time")


class Listener:
    """A listener of eventlet's hub."""

    __slots__ = ("_hub", "_listener")

    def __init__(self, hub: Any, listener: Any) -> None:
        self._hub = hub
        self._listener = listener

    def cancel(self) -> None:
        """Remove it."""
        self._hub.remove(self._listener)


class EventletHub(Hub):
    """eventlet's hub of the calling thread."""

    name = "eventlet"

    def missing(self) -> list[str]:
        """See ``Hub``."""
        return [module for module in NEEDED if not patcher.is_monkey_patched(module)]

    def native(self, module: str, name: str) -> Any:
        """See ``Hub``."""
        return getattr(patcher.original(module), name)

    def spawn(self, run: Callable[..., None], *args: Any) -> greenlet:
        """See ``Hub``."""
        made: greenlet = eventlet.spawn(run, *args)
        return made

    def soon(self, call: Callable[..., Any], *args: Any) -> None:
        """See ``Hub``."""
        hubs.get_hub().schedule_call_global(0, call, *args)

    def later(self, seconds: float, call: Callable[..., Any], *args: Any) -> Pending:
        """See ``Hub``."""
        timer: Pending = hubs.get_hub().schedule_call_global(seconds, call, *args)
        return timer

    def watch(self, descriptor: int, *, writing: bool, call: Callable[[], None]) -> Pending:
        """See ``Hub``."""
        hub = hubs.get_hub()

        def ready(_: object = None, *more: object) -> None:
            call()

        listener = hub.add(hub.WRITE if writing else hub.READ, descriptor, ready, ready, None)
        return Listener(hub, listener)

    def wait(self) -> None:
        """See ``Hub``."""
        hubs.get_hub().switch()

    def sleep(self, seconds: float) -> None:
        """See ``Hub``."""
        eventlet.sleep(seconds)
