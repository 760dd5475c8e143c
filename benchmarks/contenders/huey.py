"""huey on Redis and on SQLite, two worker processes."""

from __future__ import annotations

from harness.contender import Contender, Setup
from harness.mark import mark
from harness.place import BROKER, FILE, QUEUE, REDIS
from huey import RedisHuey, SqliteHuey

_WORKER = ["{bin}/huey_consumer", "contenders.huey.huey", "-w", "2", "-k", "process", "-q", "-g", "TERM"]

CONTENDER = Contender(
    "huey",
    distributions=("huey",),
    acknowledges=(),
    enqueues=("redis", "sqlite"),
    note="a killed worker loses the task it ran; on SQLite it polls, at the default delays",
    setups=[
        Setup("2 processes", _WORKER, brokers=("redis",), beside="celery 2 x solo"),
        Setup("2 processes", _WORKER, brokers=("sqlite",), beside="huey 2 processes"),
    ],
)

if BROKER == "redis":
    huey = RedisHuey(QUEUE, url=REDIS, notify_result=True)
else:
    huey = SqliteHuey(QUEUE, filename=FILE)


@huey.task()
def noop() -> None:
    mark()


@huey.task()
def echo(value: int) -> int:
    return value


def ready() -> None:
    """The first call connects, and the harness warms up before it measures."""


def enqueue(count: int) -> None:
    for _ in range(count):
        noop()


def call(value: int) -> int:
    return echo(value).get(blocking=True, timeout=10)
