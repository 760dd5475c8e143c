"""What the machine can do without any task queue: JSON, SQLite, Redis and a pipe to another process, in bare loops."""

from __future__ import annotations

import argparse
import base64
import json
import os
import socket
import sqlite3
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pika
import redis
from rich.console import Console
from rich.table import Table

from harness.settings import Settings
from harness.stock import virtual_host

BATCH = 100
KEY = f"umbel-limits-{os.getpid()}"
Line = tuple[str, Callable[[], int]]


def message() -> dict[str, Any]:
    """An envelope of about the size that protocol 2 gives a task without arguments."""
    task = str(uuid.uuid4())
    body = json.dumps([[], {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    headers: dict[str, Any] = {
        "lang": "py",
        "task": "contenders.umbel.noop",
        "id": task,
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": task,
        "parent_id": None,
        "argsrepr": "()",
        "kwargsrepr": "{}",
        "origin": "gen1234@machine",
        "ignore_result": True,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    }
    properties = {
        "correlation_id": task,
        "reply_to": str(uuid.uuid4()),
        "delivery_mode": 2,
        "delivery_info": {"exchange": "", "routing_key": "celery"},
        "priority": 0,
        "body_encoding": "base64",
        "delivery_tag": str(uuid.uuid4()),
    }
    return {
        "body": base64.b64encode(body.encode()).decode(),
        "content-encoding": "utf-8",
        "content-type": "application/json",
        "headers": headers,
        "properties": properties,
    }


def plain() -> Iterator[Line]:
    """What needs no server."""
    envelope = message()
    text = json.dumps(envelope).encode()

    def dumps() -> int:
        for _ in range(5_000):
            json.dumps(envelope)
        return 5_000

    def loads() -> int:
        for _ in range(5_000):
            json.loads(text)
        return 5_000

    def identifiers() -> int:
        for _ in range(5_000):
            str(uuid.uuid4())
        return 5_000

    def submit() -> int:
        with ThreadPoolExecutor(4) as pool:
            for future in [pool.submit(int) for _ in range(3_000)]:
                future.result()
        return 3_000

    yield f"json.dumps of an envelope ({len(text)} bytes)", dumps
    yield "json.loads of it", loads
    yield "str(uuid4())", identifiers
    yield "ThreadPoolExecutor: submit and result", submit
    yield "socket pair to a child and back, one by one", lambda: echo(text, 1)
    yield "socket pair to a child and back, batches of 50", lambda: echo(text, 50)


def echo(text: bytes, batch: int) -> int:
    """Messages to a forked child and a byte back for each batch."""
    here, there = socket.socketpair()
    child = os.fork()
    if child == 0:
        here.close()
        want = len(text) * batch
        got = 0
        while data := there.recv(1 << 20):
            got += len(data)
            while got >= want:
                got -= want
                there.send(b"+")
        os._exit(0)
    there.close()
    rounds = max(20, 3_000 // batch)
    for _ in range(rounds):
        here.sendall(text * batch)
        here.recv(1)
    here.close()
    os.waitpid(child, 0)
    return rounds * batch


def sqlite(folder: Path) -> Iterator[Line]:
    """A queue in one table, WAL, synchronous=NORMAL: put, and claim with delete."""
    text = json.dumps(message()).encode()
    count = 4_000

    def open_() -> sqlite3.Connection:
        connection = sqlite3.connect(folder / "limits.db", isolation_level=None)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        connection.execute("CREATE TABLE IF NOT EXISTS queue (id INTEGER PRIMARY KEY, body BLOB, claimed INTEGER)")
        return connection

    def put(batch: int) -> int:
        with closing(open_()) as connection:
            connection.execute("DELETE FROM queue")
            for _ in range(count // batch):
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("INSERT INTO queue (body) VALUES (?)", [(text,)] * batch)
                connection.execute("COMMIT")
        return count

    def drain(batch: int) -> int:
        done = 0
        with closing(open_()) as connection:
            while True:
                rows = connection.execute(
                    "UPDATE queue SET claimed = 1 WHERE id IN "
                    "(SELECT id FROM queue WHERE claimed IS NULL ORDER BY id LIMIT ?) RETURNING id, body",
                    (batch,),
                ).fetchall()
                if not rows:
                    return done
                connection.execute("BEGIN IMMEDIATE")
                connection.executemany("DELETE FROM queue WHERE id = ?", [(number,) for number, _ in rows])
                connection.execute("COMMIT")
                done += len(rows)

    # The order matters: each drain empties what the put before it filled.
    yield "SQLite: insert, one a transaction", lambda: put(1)
    yield "SQLite: claim and delete, one by one", lambda: drain(1)
    yield f"SQLite: insert, {BATCH} a transaction", lambda: put(BATCH)
    yield f"SQLite: claim and delete in batches of {BATCH}", lambda: drain(BATCH)


def redis_(client: redis.Redis) -> Iterator[Line]:
    text = json.dumps(message()).encode()
    count = 3_000

    def push() -> int:
        for _ in range(count):
            client.lpush(KEY, text)
        return count

    def pop() -> int:
        for _ in range(count):
            client.brpop([KEY], 1)
        return count

    def pipelined() -> int:
        for _ in range(count // BATCH):
            pipe = client.pipeline(transaction=False)
            for _ in range(BATCH):
                pipe.lpush(KEY, text)
            pipe.execute()
        return count

    def pop_many() -> int:
        for _ in range(count // BATCH):
            client.rpop(KEY, BATCH)
        return count

    def push_many() -> int:
        for _ in range(count // BATCH):
            client.lpush(KEY, *[text] * BATCH)
        return count

    yield "Redis: LPUSH, one by one", push
    yield "Redis: BRPOP, one by one", pop
    yield f"Redis: LPUSH, pipelined by {BATCH}", pipelined
    yield f"Redis: RPOP, {BATCH} at once", pop_many
    yield f"Redis: one LPUSH of {BATCH}", push_many


def amqp(url: str) -> Iterator[Line]:
    text = json.dumps(message()).encode()
    count = 2_000

    def publish() -> int:
        with pika.BlockingConnection(pika.URLParameters(virtual_host(url))) as connection:
            channel = connection.channel()
            channel.queue_declare(KEY, auto_delete=False)
            for _ in range(count):
                channel.basic_publish("", KEY, text)
        return count

    def consume() -> int:
        done = 0
        with pika.BlockingConnection(pika.URLParameters(virtual_host(url))) as connection:
            channel = connection.channel()
            channel.basic_qos(prefetch_count=256)
            for method, _, _ in channel.consume(KEY, inactivity_timeout=1.0):
                if method is None:
                    break
                channel.basic_ack(method.delivery_tag)
                done += 1
                if done == count:
                    break
            channel.cancel()
            channel.queue_delete(KEY)
        return done

    yield "AMQP by pika: publish", publish
    yield "AMQP by pika: consume and ack each", consume


def measured(lines: Iterator[Line], rounds: int) -> Iterator[tuple[str, float, float]]:
    """(name, µs wall, µs CPU) an item; medians of `rounds`, in which the lines take turns."""
    listed = list(lines)
    samples: dict[str, list[tuple[float, float]]] = {name: [] for name, _ in listed}
    for _ in range(rounds):
        for name, work in listed:
            begin, cpu = time.perf_counter(), time.process_time()
            count = work()
            seconds, used = time.perf_counter() - begin, time.process_time() - cpu
            samples[name].append((seconds / count * 1e6, used / count * 1e6))
    for name, taken in samples.items():
        yield name, statistics.median(wall for wall, _ in taken), statistics.median(used for _, used in taken)


@contextmanager
def _groups(options: argparse.Namespace) -> Iterator[list[tuple[str, Callable[[], Iterator[Line]]]]]:
    client = redis.Redis.from_url(options.redis)
    with tempfile.TemporaryDirectory(prefix="umbel-limits-") as folder:
        try:
            yield [
                ("plain", plain),
                ("sqlite", lambda: sqlite(Path(folder))),
                ("redis", lambda: redis_(client)),
                ("amqp", lambda: amqp(options.amqp)),
            ]
        finally:
            try:
                client.delete(KEY)
            except redis.RedisError:
                print(f"the key {KEY} may be left in Redis: it does not answer")
            client.close()


def main(arguments: list[str]) -> int:
    defaults = Settings()
    parser = argparse.ArgumentParser(prog="benchmarks/limits.py", description="The raw limits of this machine.")
    parser.add_argument("--rounds", type=int, default=3, help="times that all is measured (%(default)s)")
    parser.add_argument("--redis", default=defaults.redis, metavar="URL", help="one key of its own is used")
    parser.add_argument("--amqp", default=defaults.amqp, metavar="URL", help="one queue of its own is used")
    options = parser.parse_args(arguments)
    table = Table(title="Limits of this machine, an item", title_justify="left")
    for heading in ("what", "µs wall", "µs CPU", "a second"):
        table.add_column(heading, justify="left" if heading == "what" else "right", no_wrap=True)
    with _groups(options) as groups:
        for name, lines in groups:
            try:
                for what, wall, used in measured(lines(), options.rounds):
                    table.add_row(what, f"{wall:,.1f}", f"{used:,.1f}", f"{1e6 / wall:,.0f}")
            except (redis.RedisError, pika.exceptions.AMQPError, OSError, sqlite3.Error) as error:
                table.add_row(f"{name}: {error or type(error).__name__}", "–", "–", "–")
    Console().print(table)
    return 0
