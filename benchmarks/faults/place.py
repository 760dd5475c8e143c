"""The servers of a run: each started when it is first asked for, and all ended with the run."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import redis
from harness.failure import Failure

from faults.scenario import Server
from faults.servers.given import Given
from faults.servers.rabbitmq import PrivateRabbitMQ
from faults.servers.redis import PrivateRedis


class Servers:
    """Use it as a context.

    Args:
        redis: the user's server, or None for a private one.
        amqp: likewise.
    """

    def __init__(self, *, redis: str | None, amqp: str | None) -> None:
        self._given = {"redis": redis, "amqp": amqp}
        self._folder = Path(tempfile.mkdtemp(prefix="faults-servers-"))
        self._started: dict[str, PrivateRedis | PrivateRabbitMQ | Given] = {}

    def __enter__(self) -> Servers:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for server in self._started.values():
                server.close()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def private(self, broker: str) -> bool:
        """Whether a broker's server is ours, so that it may be stopped."""
        return self._given[broker] is None

    def get(self, broker: str) -> Server:
        """A broker's server, running. Raises Failure when there is none."""
        if broker not in self._started:
            url = self._given[broker]
            if url is not None:
                self._started[broker] = Given(url)
            else:
                made = (PrivateRedis if broker == "redis" else PrivateRabbitMQ)(self._folder / broker)
                # Known before it is started, so that one that is interrupted meanwhile is ended, too.
                self._started[broker] = made
                try:
                    made.start()
                except BaseException:
                    del self._started[broker]
                    made.close()
                    raise
        return self._started[broker]

    def results(self) -> str:
        """The URL of a Redis for results, which no fault touches; the user's where there can be no private one."""
        if "results" not in self._started:
            try:
                made = PrivateRedis(self._folder / "results")
            except Failure:
                return self._given["redis"] or ""
            self._started["results"] = made
            made.start()
        return self._started["results"].url

    def clear(self, broker: str) -> None:
        """Empty a private Redis between two scenarios. Queues on AMQP have names of their own."""
        server = self._started.get(broker)
        if broker == "redis" and isinstance(server, PrivateRedis):
            redis.Redis.from_url(server.url).flushall()
