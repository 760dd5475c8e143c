"""JSON with Celery's type tags."""
