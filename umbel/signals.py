"""The signals, where Celery's users look for them."""

from __future__ import annotations

from umbel.model.signals import *  # noqa: F403
