"""SIGKILL to the whole worker, or to its parent only, and a new start, as an operator's supervisor does it."""

from __future__ import annotations

import time
from functools import partial

from faults.bench import Bench
from faults.journal import alive
from faults.scenario import Figures, at_most

NAME = "kill-worker"
TITLE = "kill -9 of the worker (its parent, then all of it, in turns), restarted each time, 1,200 tasks"
BROKERS = ("redis", "amqp")
STOPS = False
LIMITS = {
    "redis": {"lost": at_most(0), "recovery": at_most(20), "orphans": at_most(0)},
    "amqp": {"lost": at_most(0), "recovery": at_most(10), "orphans": at_most(0)},
}

ORPHANED = 2.0
"""Seconds after which no process may be left of a worker whose parent is gone."""


def run(bench: Bench) -> Figures:
    count, ways = (200, (False, True)) if bench.short else (1200, (False, True, False, True))
    worker = bench.worker(concurrency=4)
    ids = bench.send(count, "note", 0.1)
    orphans, waits = 0, []
    for children in ways:
        bench.wait(lambda: len(bench.journal.going()) >= 2, 20)
        time.sleep(0.5)
        below = worker.children()
        killed = time.monotonic()
        cut = [run.task_id for run in bench.journal.going()]
        worker.kill(children=children)
        worker.launch()
        time.sleep(max(0.0, killed + ORPHANED - time.monotonic()))
        orphans += sum(alive(pid) for pid in below)
        worker.ready()
        waits.append((killed, cut))
        # The next one comes only when those of this one run again, so that each is timed by itself.
        bench.wait(partial(_again, bench, killed, cut), 30)
    bench.finish(ids)
    bench.linger()
    figures = bench.count(ids)
    resumed = [_resumed(bench, killed, cut) for killed, cut in waits]
    known = [seconds for seconds in resumed if seconds is not None]
    figures.recovery = max(known) if len(known) == len(resumed) else None
    figures.more = {"orphans": orphans, "cut": sum(len(cut) for _, cut in waits)}
    return figures


def _again(bench: Bench, killed: float, cut: list[str]) -> bool:
    return _resumed(bench, killed, cut) is not None


def _resumed(bench: Bench, killed: float, cut: list[str]) -> float | None:
    """Seconds from the kill until all tasks that were cut off ran again; None while one does not."""
    latest = 0.0
    for task_id in cut:
        again = [run.begin for run in bench.journal.of(task_id) if run.begin > killed]
        ended = any(run.end is not None for run in bench.journal.of(task_id))
        if not again and not ended:
            return None
        latest = max([latest, *(begin - killed for begin in again)])
    return latest
