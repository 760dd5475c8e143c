"""A pool of threads."""
