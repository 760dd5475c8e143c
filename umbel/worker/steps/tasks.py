"""The step that begins to read tasks."""

from __future__ import annotations

import logging

from umbel_kernel.spi.broker import Broker, Consumer
from umbel_kernel.step import Context, Step

logger = logging.getLogger("umbel.worker.consumer.tasks")


class Tasks(Step):
    """Provides ``task_consumer``: reads the worker's queues."""

    provides = ("task_consumer",)
    requires = ("connection",)

    def start(self, context: Context) -> Consumer:
        """Declare the queues and begin to read them.

        Raises:
            OperationalError: the connection is lost.
            ChannelError: a queue exists with other properties.
        """
        broker: Broker = context.connection
        queues = context.app.queues.consume_from
        broker.declare(queues)
        if context.worker.wants_purge:
            count = broker.purge([queue.name for queue in queues])
            context.worker.wants_purge = False
            logger.warning("purge: Erased %d messages from the queues", count)
        # No number of messages to send ahead: the loop asks for what it has room for, and what it holds until its time
        # has come must not use up that number.
        identity = context.loop.holds.identity
        consumer = broker.consumer(queues, name=context.worker.hostname, identity=identity)
        context.loop.attach(broker, consumer)
        return consumer

    def stop(self, context: Context) -> None:
        """Give back what is held and stop reading."""
        context.task_consumer.close()
