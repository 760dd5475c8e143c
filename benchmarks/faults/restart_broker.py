"""The broker's server restarted five times, while two workers run and a client publishes."""

from __future__ import annotations

import time
from functools import partial

from faults.bench import Bench
from faults.scenario import Figures, at_most
from faults.worker import Worker

NAME = "restart-broker"
TITLE = "the broker restarted five times under load (two workers, a client that goes on publishing)"
BROKERS = ("redis", "amqp")
STOPS = True
LIMITS = {
    "redis": {"lost": at_most(0), "recovery": at_most(5), "ended": at_most(0)},
    "amqp": {"lost": at_most(0), "recovery": at_most(8), "ended": at_most(0)},
}

AWAY = 1.0
WAITED = 30.0


def run(bench: Bench) -> Figures:
    times, stock = (1, 300) if bench.short else (5, 1500)
    workers = [bench.worker(name) for name in ("w1", "w2")]
    ids = bench.send(stock, "note", 0.1)
    publisher = bench.publisher(rate=15, seconds=0.1)
    bench.wait(lambda: all(bench.journal.begun(worker=worker.name) for worker in workers) and publisher.taken(), 30)
    said, begin = [worker.at() for worker in workers], time.monotonic()
    cpu = [worker.cpu() for worker in workers]
    worst: float | None = 0.0
    for _ in range(times):
        time.sleep(1.0 if bench.short else 3.0)
        bench.server.stop()
        time.sleep(AWAY)
        bench.server.start()
        back = time.monotonic()
        bench.wait(partial(_consume, bench, workers, back), WAITED)
        first = [bench.journal.begun(back, worker.name) for worker in workers]
        if not all(first):
            worst = None
        elif worst is not None:
            worst = max([worst, *(runs[0].begin - back for runs in first)])
    span = time.monotonic() - begin
    lines = max(worker.lines(since) for worker, since in zip(workers, said, strict=True)) / span
    used = max(worker.cpu() - since for worker, since in zip(workers, cpu, strict=True)) / span
    time.sleep(1.0)
    ended = publisher.finish()
    ids += publisher.taken()
    bench.finish(ids)
    bench.linger()
    figures = bench.count(ids)
    figures.recovery, figures.lines, figures.cpu = worst, lines, used
    attempts = publisher.attempts()
    figures.more = {
        "ended": sum(not worker.alive() for worker in workers),
        "refused": sum(not attempt.get("taken") for attempt in attempts),
    }
    if not ended:
        figures.notes.append("the publishing client hung and was killed")
    return figures


def _consume(bench: Bench, workers: list[Worker], since: float) -> bool:
    """Whether each of the workers has begun a task since then."""
    return all(bench.journal.begun(since, worker.name) for worker in workers)
