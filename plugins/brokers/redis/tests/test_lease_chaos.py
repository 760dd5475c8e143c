"""Consumers that freeze, die, reject and lose connections at random: each message is settled once, none is lost."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from typing import Any

import pytest
import redis

from umbel_broker_redis import RedisBroker
from umbel_broker_redis.consumer import RedisConsumer
from umbel_kernel.errors import OperationalError
from umbel_kernel.spi.message import Delivery, Message
from umbel_kernel.spi.topology import Queue
from umbel_kernel.url import URL

LEASE = 0.5
QUEUE = Queue("chaos")


class Worker:
    """What a worker does with a consumer: take, ask when in doubt, acknowledge, and go on after cuts."""

    def __init__(self, url: str, seed: int, settled: Counter[bytes], ended: threading.Event) -> None:
        self._url = URL.parse(url)
        self._dice = random.Random(seed)
        self._settled = settled
        self._ended = ended
        self._held: list[Delivery] = []
        self._identity = ""
        self._broker: RedisBroker | None = None
        self.happened: Counter[str] = Counter()

    def run(self) -> None:
        while not self._ended.is_set():
            consumer = None
            try:
                consumer = self._connect()
                while not self._ended.is_set() and self._turn(consumer):
                    pass
            except OperationalError:
                self.happened["cut"] += 1
            if consumer is not None:
                consumer.close()
            if self._broker is not None:
                self._broker.close()

    def _connect(self) -> RedisConsumer:
        self._broker = RedisBroker(self._url, {"lease": LEASE})
        consumer = self._broker.consumer([QUEUE], identity=self._identity)
        self._forget(consumer.missing(self._held))
        self._identity = consumer.identity
        return consumer

    def _forget(self, gone: Any) -> None:
        self.happened["lost hold"] += len(gone)
        self._held = [each for each in self._held if each not in gone]

    def _turn(self, consumer: RedisConsumer) -> bool:
        """One turn; False when the worker was killed."""
        if len(self._held) < 60:
            self._held += consumer.receive(20, 0.05)
        fate = self._dice.random()
        if fate < 0.006:
            self.happened["frozen"] += 1
            time.sleep(self._dice.choice([0.6, 1.2, 1.8]) * LEASE)
        elif fate < 0.016:
            consumer.reject(self._held[:5], requeue=True)
            del self._held[:5]
        elif fate < 0.02:
            self.happened["killed"] += 1
            consumer._end()
            self._identity, self._held = "", []
            return False
        if consumer.in_doubt:
            self._forget(consumer.missing(self._held))
        batch = self._held[:4]
        if batch:
            consumer.ack(batch)
            del self._held[:4]
            self._settled.update(delivery.body for delivery in batch)
        return True


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(3, marks=pytest.mark.slow)])
def test_chaos(redis_server: Any, seed: int) -> None:
    count = 4000
    dice, direct = random.Random(seed), redis.Redis(port=redis_server.port)
    sender = RedisBroker(URL.parse(redis_server.url))
    bodies = [str(number).encode() for number in range(count)]
    sender.publish([Message(body, QUEUE.name, priority=dice.choice([0, 3, 6, 9])) for body in bodies])
    settled: Counter[bytes] = Counter()
    ended = threading.Event()
    workers = [Worker(redis_server.url, seed * 10 + number, settled, ended) for number in range(4)]
    threads = [threading.Thread(target=worker.run) for worker in workers]
    for thread in threads:
        thread.start()
    end = time.monotonic() + 60
    while len(settled) < count and time.monotonic() < end:
        time.sleep(0.1)
        others = [each["id"] for each in direct.client_list(_type="normal") if each["id"] != str(direct.client_id())]
        if others and dice.random() < 0.5:
            direct.client_kill_filter(_id=dice.choice(others))
    time.sleep(0.1)
    ended.set()
    for thread in threads:
        thread.join(20)
    happened = sum((worker.happened for worker in workers), Counter())
    print(dict(happened))
    assert sorted(settled) == sorted(bodies), "messages were lost"
    # What one acknowledged in the moment of its death may not have reached the server.
    assert sum(settled.values()) - count <= 4 * happened["killed"], "messages were settled twice"
    assert happened["killed"] and happened["cut"] and happened["frozen"]
    # Nothing comes again, and nothing is left.
    last = RedisBroker(URL.parse(redis_server.url), {"lease": LEASE}).consumer([QUEUE])
    end = time.monotonic() + 4 * LEASE
    while time.monotonic() < end:
        assert last.receive(10, 0.1) == []
    last.close()
    sender.close()
    assert direct.keys("*") == []
