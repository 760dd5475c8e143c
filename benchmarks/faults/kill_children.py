"""SIGKILL to random processes of a prefork pool: the system's memory killer on a bad day."""

from __future__ import annotations

import random
import time

from faults.bench import Bench
from faults.scenario import Figures, at_most

NAME = "kill-children"
TITLE = "kill -9 of random pool children for 20 s, 2,000 tasks"
BROKERS = ("redis", "amqp")
STOPS = False
LIMITS = {
    broker: {"lost": at_most(0), "twice": at_most(3), "overlapping": at_most(0), "ended": at_most(0)}
    for broker in BROKERS
}

EVERY = 0.25


def run(bench: Bench) -> Figures:
    count, seconds = (300, 4.0) if bench.short else (2000, 20.0)
    worker = bench.worker(concurrency=3)
    ids = bench.send(count, "note", 0.03)
    bench.wait(lambda: worker.pool(), 20)
    dice, killed = random.Random(7), 0
    said, cpu, begin = worker.at(), worker.cpu(), time.monotonic()
    while time.monotonic() - begin < seconds:
        children = worker.pool()
        if children:
            worker.kill_child(dice.choice(children))
            killed += 1
        time.sleep(EVERY * dice.uniform(0.5, 1.5))
    span = time.monotonic() - begin
    lines, used, calm = worker.lines(said) / span, (worker.cpu() - cpu) / span, time.monotonic()
    last = bench.wait(lambda: bench.journal.begun(calm) or not set(ids) - bench.journal.ended(), 30)
    after = bench.journal.begun(calm)
    bench.finish(ids)
    bench.linger()
    figures = bench.count(ids)
    figures.lines, figures.cpu = lines, used
    figures.recovery = after[0].begin - calm if after else 0.0 if last else None
    figures.more = {"killed": killed, "ended": float(not worker.alive())}
    return figures
