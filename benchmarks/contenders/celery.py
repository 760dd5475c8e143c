"""Celery, as its documentation sets it for throughput: results off where nobody reads them, a larger prefetch."""

from __future__ import annotations

import celery
from celery import Celery
from harness.contender import Contender, Setup
from harness.mark import mark
from harness.place import AMQP, BROKER, MEASURE, QUEUE, REDIS, RESULTS
from kombu import Queue

_WORKER = ["{bin}/celery", "-A", "contenders.celery", "worker", "--loglevel=ERROR", "-n", "{name}@%h"]
_BOTH = ("redis", "amqp")

CONTENDER = Contender(
    "celery",
    distributions=("celery", "kombu"),
    acknowledges=_BOTH,
    enqueues=_BOTH,
    canvases=_BOTH,
    exchanges=("{queue}",),
    note="acknowledges a task as it starts (acks_late off): a killed worker loses the one it runs",
    setups=[
        Setup("prefork c2", [*_WORKER, "-c", "2", "-P", "prefork"], brokers=_BOTH, beside="celery prefork c2"),
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
            "solo",
            [*_WORKER, "-P", "solo", "-c", "1", "--prefetch-multiplier", "128"],
            brokers=_BOTH,
            beside="celery solo",
        ),
        Setup(
            "2 x solo",
            [*_WORKER, "-P", "solo", "-c", "1", "--prefetch-multiplier", "128"],
            brokers=_BOTH,
            beside="celery 2 x solo",
            processes=2,
            measures=("drain",),
        ),
    ],
)

app = Celery(
    "bench",
    broker=REDIS if BROKER == "redis" else AMQP,
    backend=RESULTS if BROKER == "redis" or MEASURE == "canvas" else "rpc://",
)
app.conf.task_queues = [Queue(QUEUE, routing_key=QUEUE)]
app.conf.task_default_queue = QUEUE
app.conf.broker_connection_retry_on_startup = True


@app.task(ignore_result=True)
def noop() -> None:
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


app.finalize()


def ready() -> None:
    with app.producer_or_acquire() as producer:
        producer.connection.ensure_connection(max_retries=1)


def enqueue(count: int) -> None:
    for _ in range(count):
        noop.delay()


def call(value: int) -> int:
    return echo.delay(value).get(timeout=10)


def chord(count: int) -> int:
    return celery.chord((echo.s(number) for number in range(count)), total.s()).delay().get(timeout=240)


def group(count: int) -> list[int]:
    return celery.group(echo.s(number) for number in range(count)).delay().get(timeout=240)


def chain(count: int) -> int:
    return celery.chain(increment.s(0), *(increment.s() for _ in range(count - 1))).delay().get(timeout=240)
