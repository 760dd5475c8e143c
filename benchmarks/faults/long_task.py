"""A task that takes four times as long as a lease, while more workers are started, as autoscaling or a deployment does.

Celery looks for what has been held for longer than its visibility timeout when a worker starts and then seldom: a
worker that starts after five seconds finds the task, and begins it although it runs.
"""

from __future__ import annotations

import time

from faults.bench import Bench
from faults.scenario import Figures, at_most

NAME = "long-task"
TITLE = "a task of 20 s under a lease (Celery: visibility timeout) of 5 s, while three more workers are started"
BROKERS = ("redis",)
STOPS = False
LIMITS = {"redis": {"lost": at_most(0), "twice": at_most(0), "overlapping": at_most(0), "runs": at_most(1)}}

LEASE = 5.0
SETTINGS = {
    "umbel": {"broker_transport_options": {"lease": LEASE}},
    "celery": {"broker_transport_options": {"visibility_timeout": LEASE}},
}


def run(bench: Bench) -> Figures:
    length = 12.0 if bench.short else 20.0
    settings = SETTINGS[bench.contender]
    bench.worker("w1", settings=settings, concurrency=1)
    ids = bench.send(1, "note", length)
    bench.wait(lambda: bench.journal.going(), 20)
    time.sleep(LEASE + 1.0)
    others = [bench.worker(f"w{number}", settings=settings, concurrency=1, start=False) for number in (2, 3, 4)]
    for worker in others:
        worker.launch()
        # Each looks for itself, as workers do that are not started by one hand.
        time.sleep(0.0 if bench.short else LEASE / 2)
    for worker in others:
        worker.ready()
    bench.finish(ids)
    time.sleep(2.0 if bench.short else length + 10.0)
    figures = bench.count(ids)
    figures.more = {"runs": bench.journal.runs(ids[0])}
    return figures
