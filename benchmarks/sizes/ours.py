"""The app of umbel whose workflows are measured, and what its workflows are made of."""

from __future__ import annotations

import os
from typing import Any

from umbel import Umbel, chain, chord, group

WORKER = "umbel"

app = Umbel("sizes", broker=os.environ["BENCH_SIZES"], backend=os.environ["BENCH_SIZES"])


@app.task
def noop(*args: Any) -> None:
    """Do nothing."""


__all__ = ["WORKER", "app", "chain", "chord", "group", "noop"]
