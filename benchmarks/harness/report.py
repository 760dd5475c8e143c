"""From samples to results: medians, and ratios to the contender and set-up each is compared with."""

from __future__ import annotations

import datetime
import statistics
from typing import Any

import redis

from harness.machine import machine
from harness.plan import Cell
from harness.settings import Settings

COLUMNS: dict[str, dict[str, str]] = {
    "drain": {"rate": "tasks/s", "cpu": "worker CPU µs", "rss": "RSS MB", "pss": "PSS MB", "startup": "start s"},
    "enqueue": {"rate": "tasks/s", "cpu": "client CPU µs"},
    "roundtrip": {"p50": "p50 ms", "p99": "p99 ms"},
    "footprint": {"import": "import ms", "startup": "first task s", "pss": "idle PSS MB", "idle": "idle CPU %"},
    "async": {"seconds": "all done s", "cpu": "worker CPU µs", "rss": "RSS MB", "pss": "PSS MB"},
    "canvas": {"chord": "chord ms", "group": "group ms", "chain": "chain ms", "rate": "many/s", "cpu": "many µs"},
}
"""The figures of each measurement and their headings."""
RATIOS: dict[str, dict[str, str]] = {
    "drain": {"rate": "x rate", "cpu": "x CPU"},
    "enqueue": {"rate": "x rate", "cpu": "x CPU"},
    "roundtrip": {"p50": "x p50"},
    "footprint": {"startup": "x start", "pss": "x PSS"},
    "async": {"seconds": "x time", "cpu": "x CPU"},
    "canvas": {"chord": "x chord", "group": "x group", "chain": "x chain", "rate": "x many", "cpu": "x CPU"},
}


def results(settings: Settings, contenders: list[dict[str, Any]], cells: list[Cell], command: str) -> dict[str, Any]:
    rows = [_row(cell) for cell in cells]
    for row in rows:
        row["ratios"] = _ratios(row, rows)
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command,
        "tasks": settings.tasks,
        "calls": settings.calls,
        # Rounds that were really taken: fewer than asked for where the run was interrupted.
        "rounds": max(len(cell.samples) for cell in cells),
        "complete": all(cell.failure or len(cell.samples) == settings.rounds for cell in cells),
        "machine": _machine(settings),
        "contenders": {
            c["name"]: {"versions": c["versions"], "acknowledges": c["acknowledges"], "note": c["note"]}
            for c in contenders
        },
        "rows": rows,
    }


def _row(cell: Cell) -> dict[str, Any]:
    names = sorted({name for sample in cell.samples for name in sample})
    medians = {name: statistics.median(s[name] for s in cell.samples if name in s) for name in names}
    return {
        "measure": cell.measure,
        "contender": cell.contender,
        "broker": cell.broker,
        "setup": cell.setup,
        "beside": cell.beside,
        "median": medians,
        "samples": cell.samples,
        "failure": cell.failure,
    }


def _ratios(row: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, float]:
    for other in rows:
        same = other["measure"] == row["measure"] and other["broker"] == row["broker"]
        if same and f"{other['contender']} {other['setup']}" == row["beside"]:
            return {
                name: row["median"][name] / other["median"][name]
                for name in RATIOS[row["measure"]]
                if row["median"].get(name) and other["median"].get(name)
            }
    return {}


def _machine(settings: Settings) -> dict[str, str]:
    said = machine()
    if "redis" in settings.brokers:
        said["redis"] = str(redis.Redis.from_url(settings.redis).info("server")["redis_version"])
    return said
