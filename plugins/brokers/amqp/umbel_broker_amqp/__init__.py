"""The AMQP broker."""

from __future__ import annotations

from umbel_broker_amqp.broker import AmqpBroker

__all__ = ["AmqpBroker"]
