"""The step that keeps leases alive, from a thread that a long task cannot stop."""

from __future__ import annotations

import functools
import logging
import threading
from collections.abc import Callable, Sequence

from umbel.model import signals
from umbel.worker.timer import Entry
from umbel_kernel.errors import UmbelError
from umbel_kernel.spi.broker import Consumer
from umbel_kernel.spi.message import Delivery
from umbel_kernel.step import Context, Step

logger = logging.getLogger("umbel.worker.heartbeat")


EVERY = 2.0
"""Seconds between two of the signals ``heartbeat_sent``, for those who look whether the worker's loop still turns."""


class LeaseKeeper:
    """Extends a consumer's leases three times in each.

    Args:
        consumer: whose.
        deliveries: a function that returns what is held; called from the keeper's thread.
    """

    def __init__(self, consumer: Consumer, deliveries: Callable[[], Sequence[Delivery]]) -> None:
        self._consumer = consumer
        self._deliveries = deliveries
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="umbel-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self, *, wait: bool = True) -> None:
        """End.

        Args:
            wait: for a renewal that is under way, which takes seconds where the server does not answer.
        """
        self._stop.set()
        if wait:
            self._thread.join(timeout=5)

    def _run(self) -> None:
        lease = self._consumer.lease or 60.0
        failed = False
        while not self._stop.wait(lease / 3):
            try:
                self._consumer.extend(self._deliveries())
                failed = False
            except UmbelError as error:
                if not failed:
                    logger.warning("cannot extend the leases of this worker: %s", error)
                failed = True
            except Exception:
                # Without this thread, long tasks would be given to others while they run.
                if not failed:
                    logger.exception("cannot extend the leases of this worker")
                failed = True


class Heartbeat(Step):
    """Keeps what this worker holds from being given to others, where the broker gives leases.

    ``--without-heartbeat`` does not touch it: without it a task that takes longer than a lease would run twice.
    """

    requires = ("tasks",)

    def start(self, context: Context) -> None:
        """Begin, where holds are leases."""
        consumer: Consumer = context.task_consumer
        self._told: Entry | None = None
        if signals.heartbeat_sent._receivers and not context.options.without_heartbeat:
            tell = functools.partial(signals.heartbeat_sent.send, sender=context.worker)
            self._told = context.timer.call_repeatedly(EVERY, tell)
            tell()
        self._keeper: LeaseKeeper | None = None
        if consumer.lease is not None:
            self._keeper = LeaseKeeper(consumer, context.loop.deliveries)
            self._keeper.start()

    def stop(self, context: Context) -> None:
        """End."""
        self._hush()
        if self._keeper is not None:
            self._keeper.stop()

    def terminate(self, context: Context) -> None:
        """End without waiting: the consumer's connection is lost."""
        self._hush()
        if self._keeper is not None:
            self._keeper.stop(wait=False)

    def _hush(self) -> None:
        if self._told is not None:
            self._told.cancel()
