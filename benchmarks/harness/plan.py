"""Which measurements a run makes, and in which order: all contenders once, then all again, so that a slow minute of the
machine falls on all alike."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from harness import measures
from harness.failure import Failure
from harness.settings import Settings


@dataclass
class Cell:
    """One line of the result: what, who, where, how; and the samples taken so far."""

    measure: str
    contender: str
    broker: str
    setup: str
    beside: str
    take: Callable[[], dict[str, float]]
    samples: list[dict[str, float]] = field(default_factory=list)
    failure: str = ""

    @property
    def title(self) -> str:
        return f"{self.measure} {self.contender} {self.setup} on {self.broker}"


def cells(settings: Settings, contenders: list[dict[str, Any]]) -> list[Cell]:
    found: list[Cell] = []
    for measure in settings.only:
        for broker in settings.brokers:
            for contender in contenders:
                found += _of(settings, measure, broker, contender)
    return found


def _of(settings: Settings, measure: str, broker: str, contender: dict[str, Any]) -> list[Cell]:
    name = contender["name"]
    if measure == "enqueue":
        if broker not in contender["enqueues"]:
            return []
        actions = {"one by one": "enqueue"} | ({"in bulk": "bulk"} if contender["bulk"] else {})
        return [
            Cell(
                measure,
                name,
                broker,
                how,
                f"{'huey' if broker == 'sqlite' else 'celery'} one by one",
                _enqueue(settings, contender, broker, action),
            )
            for how, action in actions.items()
        ]
    if measure == "canvas" and broker not in contender["canvases"]:
        return []
    return [
        Cell(
            measure,
            name,
            broker,
            setup["label"],
            "huey 2 processes"
            if broker == "sqlite"
            else setup["beside"]
            if measure == "drain"
            else _BESIDE_IDLE.get(setup["beside"], setup["beside"]),
            _worker(settings, measure, contender, setup, broker),
        )
        for setup in contender["setups"]
        if broker in setup["brokers"]
        and measure in setup["measures"]
        and (not settings.setups or setup["label"] in settings.setups)
    ]


_BESIDE_IDLE = {"celery 2 x solo": "celery prefork c2"}
"""Where one task or none is under way, two processes of a contender stand beside Celery's parent with two children."""


def _enqueue(settings: Settings, contender: dict[str, Any], broker: str, action: str) -> Callable[[], dict[str, float]]:
    return lambda: measures.enqueue(settings, contender, broker, action)


def _worker(
    settings: Settings, measure: str, contender: dict[str, Any], setup: dict[str, Any], broker: str
) -> Callable[[], dict[str, float]]:
    take = {
        "drain": measures.drain,
        "roundtrip": measures.roundtrip,
        "footprint": measures.footprint,
        "canvas": measures.canvas,
        "async": measures.naps,
    }[measure]
    return lambda: take(settings, contender, setup, broker)


def run(settings: Settings, plan: list[Cell], say: Callable[[str], None]) -> None:
    """Take all samples. A cell that fails is left out of the later rounds, and says why; the others go on."""
    begun, done, total = time.monotonic(), 0, len(plan) * settings.rounds
    for number in range(1, settings.rounds + 1):
        for cell in plan:
            done += 1
            head = f"[{done}/{total}] round {number}, {cell.title}"
            if cell.failure:
                say(f"{head}: left out, it failed before")
                continue
            try:
                sample = cell.take()
            except Failure as failure:
                cell.failure = str(failure)
                say(f"{head}: FAILED\n{failure}")
                continue
            cell.samples.append(sample)
            left = (time.monotonic() - begun) / done * (total - done)
            said = ", ".join(f"{name} {value:,.{0 if value >= 100 else 2}f}" for name, value in sample.items())
            say(f"{head}: {said} (about {left / 60:.0f} min left)")
