"""The errors, where Celery's users look for them."""

from __future__ import annotations

from umbel.model.exceptions import *  # noqa: F403
