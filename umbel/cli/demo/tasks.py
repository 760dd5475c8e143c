"""The demo's app and its two tasks: this is all that a user of umbel would write."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from umbel.app.app import Umbel
from umbel.cli.demo.census import census, total
from umbel.cli.demo.library import read

app = Umbel("umbel-demo", config_source={"result_expires": 3600}, set_as_current=False)


@app.task
def count(path: str) -> dict[str, Any]:
    """Count one file of the standard library."""
    start = perf_counter()
    found = census(read(path))
    return {**found, "path": path, "seconds": perf_counter() - start}


@app.task
def combine(counts: list[dict[str, Any]]) -> dict[str, Any]:
    """Put the counts of all files together."""
    return total(counts)
