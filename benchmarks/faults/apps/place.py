"""Where an app finds its broker: handed down by the bench in the environment of every process it starts."""

from __future__ import annotations

import json
import os
from typing import Any

CONTENDER = os.environ.get("FAULTS_CONTENDER", "umbel")
BROKER = os.environ.get("FAULTS_BROKER", "redis")
URL = os.environ.get("FAULTS_URL", "redis://127.0.0.1:6379/13")
RESULTS = os.environ.get("FAULTS_RESULTS", "") or None
QUEUE = os.environ.get("FAULTS_QUEUE", "faults")
SETTINGS: dict[str, Any] = json.loads(os.environ.get("FAULTS_SETTINGS", "{}"))
"""A scenario's own settings, on top of the best practice of both."""

SHARED: dict[str, Any] = {
    "task_default_queue": QUEUE,
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "worker_prefetch_multiplier": 1,
    "broker_connection_retry_on_startup": True,
}
"""What the documentation of Celery recommends for tasks that must not be lost; the same for both."""
