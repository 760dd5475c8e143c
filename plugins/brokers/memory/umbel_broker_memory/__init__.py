"""In-process broker: tests and single-process programs."""
