"""umbel, with the settings and set-ups of Celery's contender, so that nothing but the import tells them apart."""

from __future__ import annotations

import asyncio

from harness.contender import Contender, Setup
from harness.mark import mark
from harness.place import AMQP, BROKER, FILE, MEASURE, NAP, QUEUE, REDIS, RESULTS

import umbel
from umbel import Umbel

_WORKER = ["{bin}/umbel", "-A", "contenders.umbel", "worker", "--loglevel=ERROR", "-n", "{name}@%h", "-Q", "{queue}"]
_BOTH = ("redis", "amqp")
_ALL = ("redis", "amqp", "sqlite")
_SOLO = [*_WORKER, "-P", "solo", "-c", "1", "--prefetch-multiplier", "128"]

CONTENDER = Contender(
    "umbel",
    distributions=("umbel",),
    acknowledges=_ALL,
    enqueues=_ALL,
    canvases=_BOTH,
    exchanges=("{queue}",),
    note="acknowledges a task as it starts (acks_late off): a killed worker loses the one it runs",
    setups=[
        Setup("prefork c2", [*_WORKER, "-c", "2", "-P", "prefork"], brokers=_ALL, beside="celery prefork c2"),
        Setup(
            "threads c10",
            [*_WORKER, "-c", "10", "-P", "threads", "--prefetch-multiplier", "13"],
            brokers=_BOTH,
            beside="celery threads c10",
        ),
        Setup(
            "gevent c100",
            [*_WORKER, "-c", "100", "-P", "gevent"],
            brokers=_BOTH,
            beside="celery gevent c100",
            measures=("drain", "roundtrip"),
        ),
        Setup(
            "asyncio c1000",
            [*_WORKER, "-c", "1000", "-P", "asyncio"],
            brokers=("redis",),
            beside="taskiq 1 process c1000",
            measures=("async",),
        ),
        Setup("solo", _SOLO, brokers=_ALL, beside="celery solo"),
        Setup("2 x solo", _SOLO, brokers=_ALL, beside="celery 2 x solo", processes=2, measures=("drain",)),
    ],
)

_BROKERS = {"redis": REDIS, "amqp": AMQP, "sqlite": f"sqlite:///{FILE}"}
_BACKENDS = {"redis": RESULTS, "amqp": RESULTS if MEASURE == "canvas" else "rpc://", "sqlite": f"sqlite:///{FILE}"}

app = Umbel("bench", broker=_BROKERS[BROKER], backend=_BACKENDS[BROKER])
app.conf.task_default_queue = QUEUE


@app.task(ignore_result=True)
def noop() -> None:
    mark()


@app.task(ignore_result=True)
async def nap() -> None:
    mark()
    await asyncio.sleep(NAP)
    mark()


@app.task
def echo(value: int) -> int:
    return value


@app.task
def total(values: list[int]) -> int:
    return sum(values)


@app.task
def increment(value: int) -> int:
    return value + 1


_task = nap if MEASURE == "async" else noop
app.finalize()


def ready() -> None:
    """The first call connects, and the harness warms up before it measures."""


def enqueue(count: int) -> None:
    for _ in range(count):
        _task.delay()


def enqueue_many(count: int) -> None:
    for start in range(0, count, 1000):
        app.send_many([(_task.name, (), {}, {})] * min(1000, count - start))


def call(value: int) -> int:
    return echo.delay(value).get(timeout=10)


def chord(count: int) -> int:
    return umbel.chord((echo.s(number) for number in range(count)), total.s()).delay().get(timeout=240)


def group(count: int) -> list[int]:
    return umbel.group(echo.s(number) for number in range(count)).delay().get(timeout=240)


def chain(count: int) -> int:
    return umbel.chain(increment.s(0), *(increment.s() for _ in range(count - 1))).delay().get(timeout=240)
