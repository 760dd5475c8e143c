"""The app of Celery."""

from __future__ import annotations

import importlib
import os
from typing import Any

import interop_jobs
from celery import Celery


def make(broker: str, backend: str, prefix: str, side: str, **options: Any) -> Any:
    """An app whose tasks go to the workers of one side."""
    app = Celery("theirs", broker=broker, backend=backend, changes=interop_jobs.settings(prefix, side), **options)
    interop_jobs.register(app, shared=False)
    app.finalize()
    return app


if "INTEROP_BROKER" in os.environ:
    importlib.import_module("interop_hidden")
    app = make(
        os.environ["INTEROP_BROKER"], os.environ["INTEROP_BACKEND"], os.environ["INTEROP_PREFIX"], "theirs"
    )  # fmt: skip
