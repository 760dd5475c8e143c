"""What Celery has under ``celery.contrib``, by the same names."""
