"""Redis result backend, pushed through pub/sub."""
