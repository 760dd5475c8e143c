"""When a consumer looks for what others have left behind: consumers of umbel, and Celery's."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from umbel_broker_redis.layout import Layout
from umbel_broker_redis.lease import Lease
from umbel_broker_redis.reclaim import reclaim
from umbel_broker_redis.restore import restore
from umbel_client_redis import Link
from umbel_kernel.errors import ChannelError

logger = logging.getLogger("umbel.broker.redis")


class Sweep:
    """Looks four times a lease for consumers of umbel that are dead, and every ``unacked_restore_interval`` for what
    Celery's held longer than ``visibility_timeout``.

    The first look for the former comes a whole lease after this consumer has connected, so that after a restart of the
    server those that live can renew their leases.

    Args:
        patience: seconds that a trip to the server may take.
    """

    def __init__(self, link: Link, layout: Layout, lease: Lease, options: Mapping[str, Any], patience: float) -> None:
        self._link = link
        self._layout = layout
        self._lease = lease
        self._patience = patience
        self._visibility = float(options.get("visibility_timeout") or 3600.0)
        self._restore_every = min(
            float(options.get("unacked_restore_interval") or 10.0), max(0.05, self._visibility / 4)
        )
        self._restore_most = int(options.get("unacked_restore_limit") or 100)
        self._next_reclaim = time.monotonic() + lease.seconds
        self._next_restore = 0.0
        self._refused = ""

    @property
    def due(self) -> float:
        """The monotonic time of the next look."""
        return min(self._next_reclaim, self._next_restore)

    def run(self, now: float) -> bool:
        """Look for what is due. Returns whether anything went back to a list.

        What the server refuses is told once and does not keep anyone from reading.

        Raises:
            OperationalError: the connection is lost.
        """
        found = False
        try:
            if now >= self._next_restore:
                self._next_restore = now + self._restore_every
                before = time.time() - self._visibility
                found = restore(self._link, self._layout, before, self._restore_most, self._patience)
            if now >= self._next_reclaim:
                self._next_reclaim = now + self._lease.seconds / 4
                found = reclaim(self._link, self._layout, self._lease.identity, self._patience) or found
        except ChannelError as error:
            if str(error) != self._refused:
                self._refused = str(error)
                logger.error("cannot look for what others held: %s", error)
        return found
