"""The end of all children: in good order, then by force."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Sequence

from umbel_pool_prefork.nursery import Nursery
from umbel_pool_prefork.slot import Slot

logger = logging.getLogger(__name__)

BY_FORCE = 1.0
"""Seconds that a child has to end which was killed."""

PAUSE = 0.005
"""Seconds between two looks at children whose fork server is gone."""


class Farewell:
    """Ends children. What they still have to say is taken in meanwhile.

    Args:
        slots: the children.
        nursery: theirs.
        read: takes in what a child has written; called a last time with True for all of it.
        hear: takes in which children have ended, by the fork server.
    """

    def __init__(
        self,
        slots: Sequence[Slot],
        nursery: Nursery | None,
        *,
        read: Callable[[Slot, bool], None],
        hear: Callable[[Nursery], None],
    ) -> None:
        self._slots = slots
        self._nursery = nursery
        self._read = read
        self._hear = hear

    def say(self, timeout: float) -> None:
        """End idle children in good order, busy ones by ``SIGTERM``, and what is left after the timeout by ``SIGKILL``.
        Returns when they have ended, or could not be ended.
        """
        for slot in self._slots:
            self._read(slot, False)
            slot.reclaim()
            slot.dismiss(now=slot.running() is not None)
            if slot.running() is not None:
                slot.kill(signal.SIGTERM)
        self._wait(time.monotonic() + timeout)
        for slot in self._slots:
            slot.kill()
        self._wait(time.monotonic() + BY_FORCE)
        for slot in self._slots:
            if not slot.ended:
                logger.error("child %d could not be killed; it is left behind", slot.pid)
                slot.close()

    def _wait(self, deadline: float) -> None:
        """Wait until all have ended, or the monotonic deadline has come."""
        nursery = self._nursery
        while nursery is not None and any(not slot.ended for slot in self._slots):
            left = deadline - time.monotonic()
            if left <= 0:
                return
            if nursery.forker is not None:
                nursery.forker.wait(left)
                self._hear(nursery)
            else:
                time.sleep(PAUSE)
                for slot in self._slots:
                    if not slot.ended:
                        self._read(slot, True)
