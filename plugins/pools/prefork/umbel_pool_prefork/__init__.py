"""A pool of forked processes."""
