"""The app of umbel."""

from __future__ import annotations

import importlib
import os
from typing import Any

import interop_jobs

from umbel import Umbel


def make(broker: str, backend: str, prefix: str, side: str, **options: Any) -> Umbel:
    """An app whose tasks go to the workers of one side."""
    app = Umbel("ours", broker=broker, backend=backend, changes=interop_jobs.settings(prefix, side), **options)
    interop_jobs.register(app)
    return app


if "INTEROP_BROKER" in os.environ:
    importlib.import_module("interop_hidden")
    app = make(
        os.environ["INTEROP_BROKER"], os.environ["INTEROP_BACKEND"], os.environ["INTEROP_PREFIX"], "ours"
    )  # fmt: skip
