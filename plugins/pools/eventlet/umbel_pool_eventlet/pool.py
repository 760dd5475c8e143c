"""The pool of eventlet's green threads."""

from __future__ import annotations

import functools
import os
import select
from collections.abc import Callable
from typing import Any, ClassVar

from umbel_client_greenlet.hub import Hub
from umbel_client_greenlet.poll import Poll
from umbel_client_greenlet.pool import GreenletPool
from umbel_client_greenlet.settings import stall
from umbel_kernel.setting import Setting
from umbel_kernel.spi.pool import Job, PoolOptions
from umbel_pool_eventlet.hub import EventletHub


class EventletPool(GreenletPool):
    """Runs jobs in eventlet's green threads. ``umbel_client_greenlet.pool.GreenletPool`` says how."""

    settings: ClassVar[tuple[Setting, ...]] = (stall("eventlet"),)
    hub: ClassVar[Hub] = EventletHub()

    def open(self, size: int, execute: Callable[[Job], Any], wake: Callable[[], None], options: PoolOptions) -> None:
        """Get ready, and give back what eventlet takes away.

        It deletes ``select.poll``, and its ``os.read`` and ``os.write`` wait at a descriptor in non-blocking mode, of
        which a program wants to know at once that there is nothing.
        """
        super().open(size, execute, wake, options)
        select.poll = functools.partial(Poll, self.hub)  # type: ignore[assignment, misc]
        for name in ("read", "write"):
            setattr(os, name, self.hub.native("os", name))
