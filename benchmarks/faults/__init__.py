"""Faults done on purpose to a worker, its broker and the network between them, and what comes of it. See README.md."""
