"""All connections of a worker reset every 200 ms for half a minute: a firewall or a load balancer gone wrong."""

from __future__ import annotations

import time

from faults.bench import Bench
from faults.scenario import Figures, at_least, at_most

NAME = "reset-storm"
TITLE = "all connections of the worker reset every 200 ms for 30 s"
BROKERS = ("redis", "amqp")
STOPS = False
LIMITS = {
    broker: {
        "lost": at_most(0),
        "recovery": at_most(5),
        "lines": at_most(10),
        "cpu": at_most(0.333),
        "done meanwhile": at_least(1),
        "ended": at_most(0),
    }
    for broker in BROKERS
}

EVERY = 0.2


def run(bench: Bench) -> Figures:
    seconds, count = (6.0, 120) if bench.short else (30.0, 1000)
    proxy, url = bench.proxy()
    worker = bench.worker(url=url)
    bench.send(4, "note")
    bench.wait(lambda: len(bench.journal.ended()) >= 4, 20)
    ids = bench.send(count, "note", 0.05)
    said, cpu, begin = worker.at(), worker.cpu(), time.monotonic()
    while time.monotonic() - begin < seconds:
        proxy.reset()
        time.sleep(EVERY)
    span, calm = time.monotonic() - begin, time.monotonic()
    lines, used = worker.lines(said) / span, (worker.cpu() - cpu) / span
    done = sum(run.end is not None and run.end <= calm for run in bench.journal.begun(begin))
    again = bench.wait(lambda: bench.journal.begun(calm + 0.1) or not set(ids) - bench.journal.ended(), 60)
    after = bench.journal.begun(calm + 0.1)
    bench.finish(ids)
    bench.linger()
    figures = bench.count(ids)
    figures.lines, figures.cpu = lines, used
    figures.recovery = after[0].begin - calm if after else 0.0 if again else None
    figures.more = {"done meanwhile": done, "ended": float(not worker.alive()), "connections": len(proxy.accepted)}
    return figures
