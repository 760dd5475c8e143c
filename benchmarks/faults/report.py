"""What a run came to, as data: a row for each scenario, broker and contender."""

from __future__ import annotations

import datetime
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

from harness.machine import machine

from faults.scenario import Figures, Scenario

PACKAGES = {"umbel": ("umbel",), "celery": ("celery", "kombu", "redis", "amqp")}


def row(scenario: Scenario, broker: str, contender: str, figures: Figures | None, failure: str, seconds: float) -> Any:
    """One line of the result. `misses` says which promises were not kept, with the figure and the promise."""
    return {
        "scenario": scenario.NAME,
        "title": scenario.TITLE,
        "broker": broker,
        "contender": contender,
        "figures": asdict(figures) if figures is not None else None,
        "misses": misses(scenario, broker, figures) if figures is not None else ["it could not be done"],
        "limits": {name: str(limit) for name, limit in scenario.LIMITS.get(broker, {}).items()},
        "failure": failure,
        "seconds": round(seconds, 1),
    }


def misses(scenario: Scenario, broker: str, figures: Figures) -> list[str]:
    """The promises that these figures do not keep."""
    found = []
    for name, limit in scenario.LIMITS.get(broker, {}).items():
        value = figures.value(name)
        if not limit.kept(value):
            found.append(f"{name} {shown(value)} (promised {limit})")
    return found


def shown(value: float | None) -> str:
    if value is None:
        return "never"
    return f"{value:,.0f}" if value == int(value) or value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def results(
    rows: list[Any], *, command: str, contenders: tuple[str, ...], short: bool, complete: bool
) -> dict[str, Any]:
    return {
        "date": datetime.datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": command,
        "short": short,
        "complete": complete,
        "machine": machine(),
        "versions": {name: version(name) for contender in contenders for name in PACKAGES[contender]},
        "rows": rows,
    }
