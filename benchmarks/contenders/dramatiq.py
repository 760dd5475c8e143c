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
    canvases=_BOTH,
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
_RESULTS = MEASURE in ("roundtrip", "canvas")
if _RESULTS:
    from dramatiq.results import Results
    from dramatiq.results.backends import RedisBackend

    broker.add_middleware(Results(backend=RedisBackend(url=RESULTS)))
dramatiq.set_broker(broker)


@dramatiq.actor(queue_name=QUEUE)
def noop() -> None:
    mark()


@dramatiq.actor(queue_name=QUEUE, **({"store_results": True} if _RESULTS else {}))
def echo(value: int) -> int:
    return value


@dramatiq.actor(queue_name=QUEUE, **({"store_results": True} if _RESULTS else {}))
def increment(value: int) -> int:
    return value + 1


def ready() -> None:
    """The first message connects, and the harness warms up before it measures."""


def enqueue(count: int) -> None:
    for _ in range(count):
        noop.send()


def call(value: int) -> int:
    return echo.send(value).get_result(block=True, timeout=10_000)


def group(count: int) -> list[int]:
    sent = dramatiq.group(echo.message(number) for number in range(count)).run()
    return list(sent.get_results(block=True, timeout=240_000))


def chain(count: int) -> int:
    sent = dramatiq.pipeline([increment.message(0), *(increment.message() for _ in range(count - 1))]).run()
    return sent.get_result(block=True, timeout=240_000)
