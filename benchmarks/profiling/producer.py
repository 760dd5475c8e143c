"""The process whose `delay()` is profiled: `python -m profiling.producer <count>` prints one line of JSON."""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from contenders.umbel import app, noop
from harness.place import QUEUE

from profiling.sampler import Sampler

AT_ONCE = 5_000
"""Calls after which the queue is emptied, which counts for nothing."""


def _round(count: int) -> tuple[float, float]:
    """Seconds on the clock and of CPU that so many calls took."""
    broker = app.connections.broker()
    begin, cpu = time.perf_counter(), time.process_time()
    for _ in range(count):
        noop.delay()
    spent = time.perf_counter() - begin, time.process_time() - cpu
    broker.flush()
    broker.purge([QUEUE])
    return spent


def main(count: int) -> dict[str, Any]:
    rounds = max(1, count // AT_ONCE)
    _round(1000)
    plain = [_round(AT_ONCE) for _ in range(rounds)]
    sampler = Sampler()
    for _ in range(rounds):
        sampler.start()
        for _ in range(AT_ONCE):
            noop.delay()
        sampler.stop()
        app.connections.broker().flush()
        app.connections.broker().purge([QUEUE])
    calls = rounds * AT_ONCE
    return {
        "cpu": sum(cpu for _, cpu in plain) / calls,
        "wall": sum(wall for wall, _ in plain) / calls,
        "seconds": [[*place, spent] for place, spent in sampler.seconds.items()],
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))), flush=True)
