"""streaq, one process with a thousand slots: tasks are coroutines, and messages lie in a Redis stream."""

from __future__ import annotations

import asyncio

from harness.contender import Contender, Setup
from harness.mark import mark
from harness.place import NAP, QUEUE, REDIS
from streaq import Worker

CONTENDER = Contender(
    "streaq",
    distributions=("streaq",),
    acknowledges=("redis",),
    enqueues=(),
    setups=[
        Setup(
            "1 process c1000",
            ["{bin}/streaq", "run", "contenders.streaq:worker"],
            brokers=("redis",),
            beside="taskiq 1 process c1000",
            measures=("async",),
        )
    ],
)

worker = Worker(redis_url=REDIS, queue_name=QUEUE, concurrency=1000)


@worker.task(ttl=0, silent=True)
async def nap() -> None:
    mark()
    await asyncio.sleep(NAP)
    mark()


async def ready() -> None:
    """Each use of the worker connects."""


async def enqueue(count: int) -> None:
    async with worker:
        for start in range(0, count, 1000):
            await worker.enqueue_many([nap.enqueue() for _ in range(min(1000, count - start))])


async def call(number: int) -> int:
    raise NotImplementedError("it is measured with coroutines that sleep, alone")
