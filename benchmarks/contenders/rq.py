"""RQ: its default worker, which forks a process a job, and the simple one, which runs jobs in its own process."""

from __future__ import annotations

from harness.contender import Contender, Setup
from harness.mark import mark
from harness.place import QUEUE, REDIS
from redis import Redis
from rq import Queue

_WORKER = ["{bin}/rq", "worker", "{queue}", "--url", "{redis}", "--quiet", "--path", "{folder}"]

CONTENDER = Contender(
    "rq",
    distributions=("rq",),
    acknowledges=("redis",),
    enqueues=("redis",),
    note="a killed worker's job is found in a registry and failed or retried, not simply run again",
    setups=[
        Setup("1 worker", _WORKER, brokers=("redis",), beside="celery prefork c2", share=0.02),
        Setup(
            "1 simple worker",
            [*_WORKER, "--worker-class", "rq.worker.SimpleWorker"],
            brokers=("redis",),
            beside="celery solo",
            share=0.2,
        ),
    ],
)

connection = Redis.from_url(REDIS)
queue = Queue(QUEUE, connection=connection)


def noop() -> None:
    mark()


def echo(value: int) -> int:
    return value


def ready() -> None:
    connection.ping()


def enqueue(count: int) -> None:
    for _ in range(count):
        queue.enqueue(noop, result_ttl=0)


def enqueue_many(count: int) -> None:
    for start in range(0, count, 1000):
        jobs = [Queue.prepare_data(noop, result_ttl=0) for _ in range(min(1000, count - start))]
        queue.enqueue_many(jobs)


def call(value: int) -> int:
    result = queue.enqueue(echo, value).latest_result(timeout=10)
    if result is None:
        raise TimeoutError(f"no result for {value} within 10 s")
    return result.return_value  # type: ignore[no-any-return]
