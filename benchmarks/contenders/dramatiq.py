"""dramatiq, two processes of eight threads, and results where a round trip asks for them."""

from __future__ import annotations

import dramatiq
from harness.contender import Contender, Setup
from harness.mark import mark
from harness.place import AMQP, BROKER, MEASURE, QUEUE, REDIS, RESULTS

_BOTH = ("redis", "amqp")

CONTENDER = Contender(
    "dramatiq",
    distributions=("dramatiq",),
    acknowledges=_BOTH,
    enqueues=_BOTH,
    queues=("{queue}", "{queue}.DQ", "{queue}.XQ"),
    results_in_redis=("amqp",),
    note="on AMQP its results are kept in Redis: it has no result backend of its own there",
    setups=[
        Setup(
            "2 proc x 8 thr",
            ["{bin}/dramatiq", "contenders.dramatiq", "-p", "2", "-t", "8", "--skip-logging"],
            brokers=_BOTH,
            beside="celery 2 x solo",
        ),
    ],
)

broker: dramatiq.Broker
if BROKER == "redis":
    from dramatiq.brokers.redis import RedisBroker

    broker = RedisBroker(url=REDIS)
else:
    from dramatiq.brokers.rabbitmq import RabbitmqBroker

    broker = RabbitmqBroker(url=AMQP)
if MEASURE == "roundtrip":
    from dramatiq.results import Results
    from dramatiq.results.backends import RedisBackend

    broker.add_middleware(Results(backend=RedisBackend(url=RESULTS)))
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=QUEUE)
def noop() -> None:
    mark()


@dramatiq.actor(queue_name=QUEUE, **({"store_results": True} if MEASURE == "roundtrip" else {}))
def echo(value: int) -> int:
    return value


def ready() -> None:
    """The first message connects, and the harness warms up before it measures."""


def enqueue(count: int) -> None:
    for _ in range(count):
        noop.send()


def call(value: int) -> int:
    return echo.send(value).get_result(block=True, timeout=10_000)
