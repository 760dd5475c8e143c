"""In-process result backend."""
