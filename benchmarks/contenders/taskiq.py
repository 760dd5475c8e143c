"""taskiq, two processes, over a Redis list or an AMQP queue; the tasks are coroutines, which is what it is made for."""

from __future__ import annotations

import asyncio

from harness.contender import Contender, Setup
from harness.mark import mark
from harness.place import AMQP, BROKER, MEASURE, NAP, QUEUE, REDIS, RESULTS
from taskiq import AsyncBroker

_WORKER = ["{bin}/taskiq", "worker", "contenders.taskiq:broker", "--workers", "2", "--log-level", "ERROR"]
_THOUSAND = [*_WORKER[:4], "1", "--max-async-tasks", "1000", *_WORKER[5:]]

CONTENDER = Contender(
    "taskiq",
    distributions=("taskiq", "taskiq-redis", "taskiq-aio-pika"),
    acknowledges=("amqp",),
    enqueues=("redis", "amqp"),
    queues=("{queue}", "{queue}.dead_letter"),
    exchanges=("{queue}",),
    results_in_redis=("amqp",),
    note="classic queues as for the others (its default is quorum); "
    "on AMQP results are kept in Redis; a waiting client polls, here each millisecond",
    setups=[
        Setup("2 processes", _WORKER, brokers=("redis", "amqp"), beside="celery 2 x solo"),
        Setup("1 process c1000", _THOUSAND, brokers=("redis",), beside="taskiq 1 process c1000", measures=("async",)),
    ],
)

broker: AsyncBroker
if BROKER == "redis":
    from taskiq_redis import ListQueueBroker

    broker = ListQueueBroker(REDIS, queue_name=QUEUE)
else:
    from taskiq_aio_pika import AioPikaBroker, Exchange, Queue, QueueType

    broker = AioPikaBroker(
        AMQP,
        qos=128,
        exchange=Exchange(name=QUEUE),
        task_queues=[Queue(name=QUEUE, type=QueueType.CLASSIC)],
        dead_letter_queue=Queue(name=f"{QUEUE}.dead_letter", type=QueueType.CLASSIC),
    )
if MEASURE == "roundtrip":
    from taskiq_redis import RedisAsyncResultBackend

    broker = broker.with_result_backend(RedisAsyncResultBackend(RESULTS, result_ex_time=600))


@broker.task
async def noop() -> None:
    mark()


@broker.task
async def nap() -> None:
    mark()
    await asyncio.sleep(NAP)
    mark()


@broker.task
async def echo(value: int) -> int:
    return value


async def ready() -> None:
    await broker.startup()


async def enqueue(count: int) -> None:
    task = nap if MEASURE == "async" else noop
    for _ in range(count):
        await task.kiq()


async def call(value: int) -> int:
    task = await echo.kiq(value)
    return (await task.wait_result(check_interval=0.001, timeout=10)).return_value
