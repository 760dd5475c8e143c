"""The set of messages that every worker set-up drains: made once by the contender's own producer, kept aside, put back.

A `Stock` is one broker's way of doing that. Whatever it touches is the benchmark's own, and is emptied after.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any, Protocol

import pika
import pika.exceptions
import redis

from harness.failure import Failure
from harness.settings import Settings

OWN = "umbel-benchmarks"
"""The key that says a Redis database is the benchmark's own."""
PUT_TIMEOUT = 60.0


class Stock(Protocol):
    def take(self) -> Any:
        """Everything in the broker now, which is left empty."""

    def put(self, kept: Any) -> None:
        """Empty the broker and put back what was taken."""

    def clear(self) -> None:
        """Empty the broker."""


class RedisStock:
    """A database as DUMP gives it, key by key."""

    def __init__(self, settings: Settings) -> None:
        self._live = redis.Redis.from_url(settings.redis)
        self._all = [self._live, redis.Redis.from_url(settings.results)]

    def claim(self, force: bool) -> None:
        """Make sure that the databases are ours to empty. Raises Failure where somebody else's keys are in them."""
        for client in self._all:
            if client.dbsize() and not client.exists(OWN) and not force:
                where = client.connection_pool.connection_kwargs
                raise Failure(
                    f"Redis database {where.get('db')} at {where.get('host')} is not empty, and the benchmark would "
                    "empty it: choose others with --redis and --results, or say --force"
                )
        for client in self._all:
            client.set(OWN, "1")

    def release(self) -> None:
        for client in self._all:
            client.flushdb()

    def take(self) -> dict[bytes, tuple[int, bytes]]:
        keys = [key for key in self._live.scan_iter(count=1000) if key != OWN.encode()]
        kept: dict[bytes, tuple[int, bytes]] = {}
        for start in range(0, len(keys), 500):
            pipe = self._live.pipeline(transaction=False)
            part = keys[start : start + 500]
            for key in part:
                pipe.pttl(key)
                pipe.dump(key)
            answers = pipe.execute()
            kept.update({key: (max(answers[2 * i], 0), answers[2 * i + 1]) for i, key in enumerate(part)})
        self.clear()
        return kept

    def put(self, kept: dict[bytes, tuple[int, bytes]]) -> None:
        self.clear()
        items = list(kept.items())
        for start in range(0, len(items), 500):
            pipe = self._live.pipeline(transaction=False)
            for key, (ttl, value) in items[start : start + 500]:
                pipe.restore(key, ttl, value, replace=True)
            pipe.execute()

    def clear(self) -> None:
        for client in self._all:
            client.flushdb()
            client.set(OWN, "1")


class AmqpStock:
    """The messages of the queue of tasks, with their properties. The queues themselves stay until `clear`."""

    def __init__(
        self, settings: Settings, queue: str, queues: list[str], exchanges: list[str], results: RedisStock | None
    ) -> None:
        self._parameters = pika.URLParameters(virtual_host(settings.amqp))
        self._queue = queue
        self._queues = queues
        self._exchanges = exchanges
        self._results = results

    def _size(self, channel: Any) -> int:
        return int(channel.queue_declare(self._queue, passive=True).method.message_count)

    def take(self) -> list[tuple[pika.BasicProperties, bytes]]:
        kept = []
        with pika.BlockingConnection(self._parameters) as connection:
            channel = connection.channel()
            for method, properties, body in channel.consume(self._queue, auto_ack=True, inactivity_timeout=1.0):
                if method is None:
                    break
                kept.append((properties, body))
            channel.cancel()
        return kept

    def put(self, kept: list[tuple[pika.BasicProperties, bytes]]) -> None:
        with pika.BlockingConnection(self._parameters) as connection:
            channel = connection.channel()
            channel.queue_purge(self._queue)
            for properties, body in kept:
                channel.basic_publish("", self._queue, body, properties)
            deadline = time.monotonic() + PUT_TIMEOUT
            while self._size(channel) < len(kept):
                if time.monotonic() > deadline:
                    raise Failure(
                        f"{self._size(channel)} of {len(kept)} messages are in {self._queue} after {PUT_TIMEOUT:.0f} s"
                    )
                connection.sleep(0.02)

    def clear(self) -> None:
        if self._results is not None:
            self._results.clear()
        with pika.BlockingConnection(self._parameters) as connection:
            for queue in self._queues:
                connection.channel().queue_delete(queue)
            for exchange in self._exchanges:
                connection.channel().exchange_delete(exchange)


class SqliteStock:
    """The bytes of a database and of its journal."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def take(self) -> dict[str, bytes]:
        kept = {path.name: path.read_bytes() for path in self._files()}
        self.clear()
        return kept

    def put(self, kept: dict[str, bytes]) -> None:
        self.clear()
        for name, content in kept.items():
            (self._file.parent / name).write_bytes(content)

    def clear(self) -> None:
        for path in self._files():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()

    def _files(self) -> list[Path]:
        return list(self._file.parent.glob(f"{self._file.name}*"))


def virtual_host(url: str) -> str:
    """pika takes an empty virtual host for the empty name; others take it, as kombu does, for `/`."""
    return url[:-2] + "/%2F" if url.endswith("//") else url


def check_amqp(url: str) -> None:
    """Connect and leave again. Raises pika's AMQPError where nobody answers."""
    pika.BlockingConnection(pika.URLParameters(virtual_host(url))).close()
