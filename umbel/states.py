"""The states, where Celery's users look for them."""

from __future__ import annotations

from umbel.model.states import *  # noqa: F403
