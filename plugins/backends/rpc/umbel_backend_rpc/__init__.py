"""Results as messages to the caller's own AMQP reply queue."""
