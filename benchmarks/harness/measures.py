"""The six measurements. Each makes one sample: figures by name, taken once, on a worker of its own."""

from __future__ import annotations

import statistics
import time
from typing import Any, NamedTuple

from harness.bench import Bench
from harness.failure import Failure
from harness.settings import Settings
from harness.stock import AmqpStock, RedisStock, SqliteStock, Stock
from harness.worker import Worker

SETTLE = 2.0
"""Seconds that a worker is given after its first task before it counts as idle."""

_kept: dict[tuple[str, str, bool, int], Any] = {}


def stock(bench: Bench, contender: dict[str, Any]) -> Stock:
    if bench.broker == "redis":
        return RedisStock(bench.settings)
    if bench.broker == "amqp":
        queues = [name.format(queue=bench.queue) for name in contender["queues"]]
        exchanges = [name.format(queue=bench.queue) for name in contender["exchanges"]]
        in_redis = bench.broker in contender["results_in_redis"] or bench.measure == "canvas"
        results = RedisStock(bench.settings) if in_redis else None
        return AmqpStock(bench.settings, bench.queue, queues, exchanges, results)
    return SqliteStock(bench.file)


def filled(bench: Bench, shelf: Stock, count: int) -> None:
    """Put `count` messages into the broker, made by the contender's producer the first time."""
    key = (bench.contender, bench.broker, bench.measure == "async", count)
    if key not in _kept:
        bench.client("fill", count)
        _kept[key] = shelf.take()
    elif bench.broker == "amqp":
        bench.client("fill", 1)  # declares the queues again
    shelf.put(_kept[key])


class Drained(NamedTuple):
    """What a worker was seen to do with a full queue."""

    times: list[int]  # of all marks, nanoseconds
    started: int  # when the worker was, on the same clock
    begun: int  # marks there already when CPU began to be counted
    cpu: float  # seconds, of the whole tree
    rss: float
    pss: float


def drained(
    settings: Settings,
    contender: dict[str, Any],
    setup: dict[str, Any],
    broker: str,
    measure: str,
    count: int,
    marks: int,
) -> Drained:
    """Let a worker loose on `count` messages, which leave so many marks together."""
    with Bench(settings, contender["name"], broker, measure) as bench:
        shelf = stock(bench, contender)
        try:
            filled(bench, shelf, count)
            with Worker(bench, setup) as worker:
                worker.wait(1)
                before, begun = worker.tree.cpu(), bench.ledger.count()
                worker.wait(marks)
                cpu = worker.tree.cpu() - before
                rss, pss = worker.tree.memory()
                return Drained(bench.ledger.times(), worker.started, begun, cpu, rss, pss)
        finally:
            shelf.clear()


def drain(settings: Settings, contender: dict[str, Any], setup: dict[str, Any], broker: str) -> dict[str, float]:
    """Rate from the first executed task to the last; CPU of the worker's whole tree in that time; memory after it."""
    count = max(20, int(settings.tasks * setup["share"]))
    seen = drained(settings, contender, setup, broker, "drain", count, count)
    times = seen.times
    # The first sighting comes a few milliseconds after the first task: what ran before it is in neither figure of CPU.
    rest = count - seen.begun
    sample = {
        "rate": (count - 1) / ((times[count - 1] - times[0]) / 1e9),
        "startup": (times[0] - seen.started) / 1e9,
        "rss": seen.rss,
        "pss": seen.pss,
        "executed": float(len(times)),
    }
    if rest >= count / 2:
        sample["cpu"] = seen.cpu / rest * 1e6
    return sample


def naps(settings: Settings, contender: dict[str, Any], setup: dict[str, Any], broker: str) -> dict[str, float]:
    """Coroutines that sleep: from the start of the first to the end of the last; CPU of the whole tree in that time."""
    count = settings.naps
    # Each leaves a mark when it starts and one when it ends.
    seen = drained(settings, contender, setup, broker, "async", count, 2 * count)
    times = seen.times
    return {
        "seconds": (times[2 * count - 1] - times[0]) / 1e9,
        "cpu": seen.cpu / (count - seen.begun) * 1e6,
        "rss": seen.rss,
        "pss": seen.pss,
        "executed": len(times) / 2,
    }


def enqueue(settings: Settings, contender: dict[str, Any], broker: str, action: str) -> dict[str, float]:
    """One process enqueues with no worker running: `enqueue` one by one, `bulk` as the contender takes many."""
    with Bench(settings, contender["name"], broker, "enqueue") as bench:
        shelf = stock(bench, contender)
        try:
            answer = bench.client(action, settings.tasks)
        finally:
            shelf.clear()
    return {"rate": answer["count"] / answer["seconds"], "cpu": answer["cpu"] / answer["count"] * 1e6}


def roundtrip(settings: Settings, contender: dict[str, Any], setup: dict[str, Any], broker: str) -> dict[str, float]:
    """Calls one after another on a worker that has nothing else to do, from before sending to the result in hand."""
    with Bench(settings, contender["name"], broker, "roundtrip") as bench:
        shelf = stock(bench, contender)
        try:
            bench.client("fill", 1)
            with Worker(bench, setup) as worker:
                worker.wait(1)
                times = sorted(bench.client("roundtrip", settings.calls)["times"])
        finally:
            shelf.clear()
    if len(times) < 2:
        raise Failure("a round trip needs at least two calls")
    return {"p50": statistics.median(times) * 1e3, "p99": times[min(len(times) - 1, int(len(times) * 0.99))] * 1e3}


def canvas(settings: Settings, contender: dict[str, Any], setup: dict[str, Any], broker: str) -> dict[str, float]:
    """Workflows one after another on an idle worker, from making them to their results in hand. After the worker has
    ended, many tasks at once, by the contender's call for that or one by one."""
    sample: dict[str, float] = {}
    with Bench(settings, contender["name"], broker, "canvas") as bench:
        shelf = stock(bench, contender)
        try:
            bench.client("fill", 1)
            with Worker(bench, setup) as worker:
                worker.wait(1)
                for action in contender["canvas"]:
                    answer = bench.client(action, getattr(settings, action))
                    sample[action] = answer["seconds"] * 1e3
                    sample[f"{action} cpu"] = answer["cpu"] * 1e3
            answer = bench.client("bulk" if contender["bulk"] else "enqueue", settings.tasks)
            sample["rate"] = answer["count"] / answer["seconds"]
            sample["cpu"] = answer["cpu"] / answer["count"] * 1e6
        finally:
            shelf.clear()
    return sample


def footprint(settings: Settings, contender: dict[str, Any], setup: dict[str, Any], broker: str) -> dict[str, float]:
    """Import and cold start, then what the worker takes while it waits."""
    with Bench(settings, contender["name"], broker, "footprint") as bench:
        shelf = stock(bench, contender)
        try:
            imported = bench.client("import")["import"]
            bench.client("fill", 1)
            with Worker(bench, setup) as worker:
                worker.wait(1)
                started = (bench.ledger.times()[0] - worker.started) / 1e9
                time.sleep(SETTLE)
                before, begin = worker.tree.cpu(), time.monotonic()
                time.sleep(settings.idle)
                idle = (worker.tree.cpu() - before) / (time.monotonic() - begin)
                rss, pss = worker.tree.memory()
        finally:
            shelf.clear()
    return {"import": imported * 1e3, "startup": started, "rss": rss, "pss": pss, "idle": idle * 100}
