"""``select.poll`` for greenlets: it waits in the hub, and only when it has to."""

from __future__ import annotations

import time
from typing import Any

from greenlet import getcurrent

from umbel_client_greenlet.hub import Hub

POLLOUT = 4
"""``select.POLLOUT``, which is the same number on all systems that have it."""


class Poll:
    """The polling object of the standard library, which stays the judge of what is ready.

    gevent's own always gives way to the hub, also for a look that waits for nothing, and makes its watchers anew each
    time; eventlet has none, and takes that of the standard library away.
    """

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._system: Any = hub.native("select", "poll")()
        self._masks: dict[int, int] = {}

    def register(self, fd: Any, eventmask: int = 7) -> None:
        """See ``select.poll``."""
        self._system.register(fd, eventmask)
        self._masks[fd if isinstance(fd, int) else fd.fileno()] = eventmask

    def modify(self, fd: Any, eventmask: int) -> None:
        """See ``select.poll``."""
        self._system.modify(fd, eventmask)
        self._masks[fd if isinstance(fd, int) else fd.fileno()] = eventmask

    def unregister(self, fd: Any) -> None:
        """See ``select.poll``."""
        self._system.unregister(fd)
        del self._masks[fd if isinstance(fd, int) else fd.fileno()]

    def poll(self, timeout: float | None = None) -> list[tuple[int, int]]:
        """See ``select.poll``: milliseconds; None or less than nothing for as long as it takes."""
        ready: list[tuple[int, int]] = self._system.poll(0)
        if ready or timeout == 0:
            return ready
        end = None if timeout is None or timeout < 0 else time.monotonic() + timeout / 1000
        while True:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return ready
            self._wait(left)
            ready = self._system.poll(0)
            if ready:
                return ready

    def _wait(self, seconds: float | None) -> None:
        hub, current, waits = self._hub, getcurrent(), True

        def go_on() -> None:
            nonlocal waits
            if waits:
                waits = False
                current.switch()

        pending = []
        try:
            for descriptor, mask in self._masks.items():
                if mask & ~POLLOUT:
                    pending.append(hub.watch(descriptor, writing=False, call=go_on))
                if mask & POLLOUT:
                    pending.append(hub.watch(descriptor, writing=True, call=go_on))
            if seconds is not None:
                pending.append(hub.later(seconds, go_on))
            hub.wait()
        finally:
            waits = False
            for each in pending:
                each.cancel()
