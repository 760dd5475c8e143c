"""One job at a time in the main thread."""
