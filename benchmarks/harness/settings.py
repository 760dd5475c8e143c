"""What a run was asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent
MEASURES = ("drain", "enqueue", "roundtrip", "footprint", "canvas", "async")
BROKERS = ("redis", "amqp", "sqlite")
CONTENDERS = ("umbel", "celery", "dramatiq", "huey", "rq", "taskiq", "streaq")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """`tasks` is the size of the set drained and enqueued, `calls` the number of round trips, `idle` seconds; `chord`,
    `group` and `chain` are the numbers of tasks in these, `naps` that of coroutines that sleep."""

    only: tuple[str, ...] = MEASURES
    contenders: tuple[str, ...] = CONTENDERS
    brokers: tuple[str, ...] = BROKERS
    setups: tuple[str, ...] = ()
    rounds: int = 3
    tasks: int = 20_000
    calls: int = 300
    idle: float = 5.0
    chord: int = 1_000
    group: int = 5_000
    chain: int = 200
    naps: int = 10_000
    redis: str = "redis://127.0.0.1:6379/11"
    results: str = "redis://127.0.0.1:6379/12"
    amqp: str = "amqp://guest:guest@127.0.0.1:5672/%2F"
    force: bool = False
    out: Path = FOLDER / "out"
    run: str = field(default_factory=lambda: f"{os.getpid():x}")
