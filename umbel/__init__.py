"""umbel: a distributed task queue with Celery's API, command line and wire protocol."""
