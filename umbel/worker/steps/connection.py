"""The step that connects to the broker."""

from __future__ import annotations

import logging

from umbel.app.connections import masked
from umbel_kernel.spi.broker import Broker
from umbel_kernel.step import Context, Step

logger = logging.getLogger("umbel.worker.consumer.connection")


class Connection(Step):
    """Provides ``connection``: the broker that tasks are read from."""

    provides = ("connection",)

    def start(self, context: Context) -> Broker:
        """Connect.

        Raises:
            OperationalError: no broker answers.
        """
        broker: Broker = context.app.connections.connect(read=True)
        logger.info("Connected to %s", masked([broker.url]))
        return broker

    def stop(self, context: Context) -> None:
        """Disconnect."""
        context.connection.close()
