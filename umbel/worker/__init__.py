"""The worker: takes messages from the broker, has a pool run them, and settles what comes of it."""
