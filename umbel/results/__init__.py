"""The outcome of tasks: the store of result documents, and the handles that callers hold."""
