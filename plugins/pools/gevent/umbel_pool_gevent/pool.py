"""The pool of gevent's greenlets."""

from __future__ import annotations

import functools
import select
from collections.abc import Callable
from typing import Any, ClassVar

from umbel_client_greenlet.hub import Hub
from umbel_client_greenlet.poll import Poll
from umbel_client_greenlet.pool import GreenletPool
from umbel_client_greenlet.settings import stall
from umbel_kernel.setting import Setting
from umbel_kernel.spi.pool import Job, PoolOptions
from umbel_pool_gevent.hub import GeventHub


class GeventPool(GreenletPool):
    """Runs jobs in gevent's greenlets. ``umbel_client_greenlet.pool.GreenletPool`` says how."""

    settings: ClassVar[tuple[Setting, ...]] = (stall("gevent"),)
    hub: ClassVar[Hub] = GeventHub()

    def open(self, size: int, execute: Callable[[Job], Any], wake: Callable[[], None], options: PoolOptions) -> None:
        """Get ready; and let ``select.poll`` look before it waits."""
        super().open(size, execute, wake, options)
        select.poll = functools.partial(Poll, self.hub)  # type: ignore[assignment, misc]
