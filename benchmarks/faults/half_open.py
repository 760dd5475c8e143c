"""A network that swallows everything for half a minute and breaks nothing: no reset tells that the peer is gone.

Two workers and a publishing client stand behind proxies that stop forwarding. One worker is idle then, the other has
begun a task that ends meanwhile. After it the proxies go on, with what has gathered.
"""

from __future__ import annotations

import time

from faults.bench import Bench
from faults.scenario import Figures, at_most

NAME = "half-open"
TITLE = "a proxy that stops forwarding for 30 s without a reset"
BROKERS = ("redis", "amqp")
STOPS = False
LIMITS = {
    broker: {
        "lost": at_most(0),
        "recovery": at_most(15),
        "noticed s": at_most(15),
        "slowest publish s": at_most(6),
        "ended": at_most(0),
    }
    for broker in BROKERS
}

DEADLINE = 5.0
"""umbel's `broker_publish_timeout`; Celery has no such setting."""


def run(bench: Bench) -> Figures:
    seconds = 16.0 if bench.short else 30.0
    proxies, workers = [], []
    for name in ("w1", "w2"):
        proxy, url = bench.proxy()
        proxies.append(proxy)
        workers.append(bench.worker(name, url=url))
    proxy, url = bench.proxy()
    proxies.append(proxy)
    publisher = bench.publisher(rate=2, seconds=0.05, url=url)
    bench.wait(lambda: len(bench.journal.ended()) >= 6, 30)
    ids = bench.send(1, "note", 3.0)
    bench.wait(lambda: any(run.task_id == ids[0] for run in bench.journal.going()), 10)
    said, cpu, stalled = [worker.at() for worker in workers], [worker.cpu() for worker in workers], time.monotonic()
    for proxy in proxies:
        proxy.stall()
    noticed: list[float | None] = [None, None]
    while time.monotonic() - stalled < seconds:
        for number, worker in enumerate(workers):
            if noticed[number] is None and worker.noticed(said[number]):
                noticed[number] = time.monotonic() - stalled
        time.sleep(0.05)
    span = time.monotonic() - stalled
    lines = max(worker.lines(since) for worker, since in zip(workers, said, strict=True)) / span
    used = max(worker.cpu() - since for worker, since in zip(workers, cpu, strict=True)) / span
    flow = time.monotonic()
    for proxy in proxies:
        proxy.flow()
    ids += bench.send(60, "note", 0.2)
    bench.wait(lambda: all(bench.journal.begun(flow, worker.name) for worker in workers), 60)
    first = [bench.journal.begun(flow, worker.name) for worker in workers]
    time.sleep(1.0)
    ended = publisher.finish(30)
    ids += publisher.taken()
    bench.finish(ids)
    bench.linger()
    figures = bench.count(ids)
    figures.recovery = max(runs[0].begin - flow for runs in first) if all(first) else None
    figures.lines, figures.cpu = lines, used
    meanwhile = [each for each in publisher.attempts() if stalled - DEADLINE <= each["at"] < flow]
    figures.more = {
        "noticed s": max(known) if len(known := [n for n in noticed if n is not None]) == len(noticed) else None,
        "slowest publish s": max((each["took"] for each in meanwhile if "took" in each), default=0.0),
        "refused": sum(each.get("taken") is False for each in meanwhile),
        "ended": sum(not worker.alive() for worker in workers),
    }
    if any("took" not in each for each in meanwhile):
        figures.more["slowest publish s"] = None
    if not ended:
        figures.notes.append("the publishing client hung and was killed")
    return figures
