"""A worker that stands still for a while, as a virtual machine that is moved, and then goes on as if nothing had been.

Its tasks have been done elsewhere by then. What it comes to is late, and must not replace the result that is there.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from typing import Any

import redis
from harness.failure import Failure

from faults.bench import Bench
from faults.scenario import Figures, at_most

NAME = "frozen-worker"
TITLE = "a worker frozen (SIGSTOP) for 20 s, its tasks of 4 s redone elsewhere, then thawed"
BROKERS = ("redis", "amqp")
STOPS = False
LIMITS = {
    broker: {"lost": at_most(0), "recovery": at_most(20), "most results of one task": at_most(1), "ended": at_most(0)}
    for broker in BROKERS
}

LENGTH = 4.0
FROZEN = 20.0
SETTINGS: dict[tuple[str, str], dict[str, Any]] = {
    ("umbel", "redis"): {"broker_transport_options": {"lease": 5}},
    ("celery", "redis"): {"broker_transport_options": {"visibility_timeout": 5}},
    ("umbel", "amqp"): {"broker_heartbeat": 4},
    ("celery", "amqp"): {"broker_heartbeat": 4},
}
"""Short times after which the broker, or another worker, takes a silent one for dead."""


def run(bench: Bench) -> Figures:
    settings = SETTINGS[bench.contender, bench.broker]
    frozen = bench.worker("w1", settings=settings)
    # More than are done while the other worker starts, so that the first is at work when it is frozen.
    ids = bench.send(10, "keep", LENGTH)
    bench.wait(lambda: len(bench.journal.going()) >= 2, 20)
    stored = Stored(bench.results)
    other = bench.worker("w2", settings=settings)
    bench.wait(lambda: len([run for run in bench.journal.going() if run.worker == "w1"]) >= 2, LENGTH)
    cut = [run.task_id for run in bench.journal.going() if run.worker == "w1"]
    if not cut:
        raise Failure(f"{bench.contender}: the worker had nothing to do any more when it was to be frozen", frozen.log)
    frozen.freeze()
    begin = time.monotonic()
    bench.wait(lambda: set(cut) <= bench.journal.ended(), FROZEN)
    redone = time.monotonic() - begin
    if not bench.short:
        time.sleep(max(0.0, begin + FROZEN - time.monotonic()))
    frozen.thaw()
    bench.finish(ids, patience=20.0)
    # What the frozen worker was at goes on to its end now, and its result comes late.
    time.sleep(LENGTH + (1.0 if bench.short else 6.0))
    writes = stored.close(ids)
    figures = bench.count(ids)
    # Both runs of a task that was redone do overlap: the frozen one has not ended. That is what the fencing is for.
    figures.overlapping = None
    figures.more = {
        "cut": len(cut),
        "redone": sum(bench.journal.runs(task_id) > 1 for task_id in cut),
        "most results of one task": max(writes.values(), default=0),
        "ended": sum(not worker.alive() for worker in (frozen, other)),
    }
    figures.recovery = redone if redone < FROZEN else None
    figures.notes.append("recovery: from the freeze until the frozen worker's tasks have been done elsewhere")
    return figures


class Stored:
    """Counts, by the results' own server, how often a finished state was written for each task."""

    def __init__(self, url: str) -> None:
        self._client = redis.Redis.from_url(url, socket_timeout=None)
        self._counts: Counter[str] = Counter()
        self._over = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self._ready.wait(5.0)

    def _listen(self) -> None:
        with self._client.monitor() as monitor:
            self._ready.set()
            for command in monitor.listen():
                if self._over.is_set():
                    return
                words = command["command"]
                name = words.split(" ", 1)[0].upper()
                if name in ("SET", "SETEX", "HSET") and "celery-task-meta-" in words and "SUCCESS" in words:
                    self._counts[words.split("celery-task-meta-", 1)[1][:32]] += 1

    def close(self, ids: list[str]) -> dict[str, int]:
        """How many results of each of these were taken."""
        self._over.set()
        self._client.ping()
        self._thread.join(5.0)
        self._client.close()
        return {task_id: self._counts[task_id] for task_id in ids}
