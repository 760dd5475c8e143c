"""What waits for its time in a sorted set beside its list."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from umbel_broker_redis import RedisBroker
from umbel_broker_redis.consumer import RedisConsumer
from umbel_kernel.spi.message import Delivery, Message
from umbel_kernel.spi.topology import Queue
from umbel_testkit.taking import take
from umbel_testkit.waiting import eventually

Make = Callable[..., RedisBroker]


def held(broker: RedisBroker, name: str, *bodies: bytes, **properties: Any) -> tuple[RedisConsumer, list[Delivery]]:
    """A consumer that holds messages of these bodies."""
    broker.publish([Message(body, name, **properties) for body in bodies])
    consumer = broker.consumer([Queue(name)])
    return consumer, take(consumer, len(bodies), within=10)


def keys(direct: redis.Redis, pattern: str) -> list[bytes]:
    """The keys of umbel's own."""
    return sorted(direct.keys(pattern))


def test_equal_messages_wait_both_and_come_in_order(make: Make, name: str, direct: redis.Redis) -> None:
    raw = b'{"no": "message of ours"}'
    direct.rpush(name, *[raw] * 3)
    broker = make()
    consumer = broker.consumer([Queue(name)])
    consumer.reject(take(consumer, 3, within=10), requeue=True, delay=0.2)
    assert direct.zcard(f"umbel.parked.{name}") == 3
    assert [each.body for each in take(consumer, 3, within=10)] == [raw] * 3
    bodies = [b"%d" % number for number in range(400)]
    broker.publish([Message(body, name) for body in bodies])
    taken = take(consumer, 400, within=10)
    consumer.reject(taken, requeue=True, delay=[0.2 + number / 1000 for number in range(400)])
    time.sleep(1)
    assert [each.body for _ in range(4) for each in take(consumer, 100, within=10)] == bodies
    assert keys(direct, "umbel.parked.*") == []


def test_what_waits_keeps_its_priority(make: Make, name: str) -> None:
    broker = make()
    consumer, idle = held(broker, name, b"idle", priority=9)
    broker.publish([Message(b"urgent", name, priority=0)])
    consumer.reject(idle + take(consumer, 1, within=10), requeue=True, delay=0.2)
    eventually(lambda: not consumer.receive(0, 0.05) and consumer._look, within=10, what="the time of both")
    assert [each.body for each in take(consumer, 2, within=10)] == [b"urgent", b"idle"]


def test_another_consumer_brings_what_one_parked_and_did_not_live_to_see(make: Make, name: str) -> None:
    staying = make().consumer([Queue(name)])
    assert staying.receive(1, 0.05) == []
    dying, found = held(make(), name, b"1")
    dying.reject(found, requeue=True, delay=1.0)
    dying._link.close()
    parked = time.monotonic()
    (brought,) = take(staying, 1, within=10)
    assert (brought.body, brought.redelivered) == (b"1", False)
    assert time.monotonic() - parked >= 0.9


def test_the_last_reader_puts_back_what_waits_for_whoever_is_left(make: Make, name: str, direct: redis.Redis) -> None:
    bodies = [b"%d" % number for number in range(5)]
    first, found = held(make(global_keyprefix="p."), name, *bodies)
    first.reject(found, requeue=True, delay=60)
    second = make(global_keyprefix="p.").consumer([Queue(name)])
    other = make(global_keyprefix="p.").consumer([Queue(f"{name}-other")])
    assert second.receive(1, 0.3) == first.receive(1, 0.05) == other.receive(1, 0.05) == []
    assert len(direct.zrange(f"p.umbel.readers.{name}", 0, -1)) == 2
    first.close()
    assert (direct.llen(f"p.{name}"), direct.zcard(f"p.umbel.parked.{name}")) == (0, 5)
    second.close()
    assert (direct.llen(f"p.{name}"), direct.zcard(f"p.umbel.parked.{name}")) == (5, 0)
    other.close()
    assert keys(direct, "p.umbel.*") == []
    last = make(global_keyprefix="p.").consumer([Queue(name)])
    assert [each.body for each in take(last, 5, within=10)] == bodies


def test_a_reader_that_was_killed_does_not_keep_the_last_one_from_putting_back(
    make: Make, name: str, direct: redis.Redis
) -> None:
    killed, found = held(make(), name, b"1")
    killed.reject(found, requeue=True, delay=60)
    assert killed.receive(1, 0.2) == []
    killed._link.close()
    staying = make().consumer([Queue(name)])
    eventually(
        lambda: (
            not staying.receive(1, 0.1)
            and len(direct.zrangebyscore(f"umbel.readers.{name}", _now(direct), "+inf")) == 1
        ),
        within=10,
        what="the end of the killed one's time among the readers",
    )
    staying.close()
    assert direct.llen(name) == 1


def _now(direct: redis.Redis) -> int:
    seconds, micros = direct.time()
    return int(seconds * 1000 + micros // 1000)


def test_what_was_lost_meanwhile_is_not_parked(make: Make, name: str, direct: redis.Redis) -> None:
    consumer, found = held(make(), name, b"1", b"2")
    direct.hdel(consumer._lease.key, found[0].tag)
    consumer.reject(found, requeue=True, delay=60)
    assert direct.zcard(f"umbel.parked.{name}") == 1
    assert direct.exists(consumer._lease.key) == 0


def test_a_full_server_still_parks_and_brings(make: Make, name: str, direct: redis.Redis) -> None:
    consumer, found = held(make(), name, b"1", b"2")
    direct.config_set("maxmemory", 1)
    try:
        consumer.reject(found, requeue=True, delay=0.3)
        assert consumer.receive(2, 0.1) == []
        taken = take(consumer, 2, within=10)
        consumer.reject(taken, requeue=True, delay=60)
        consumer.close()
        assert direct.llen(name) == 2
    finally:
        direct.config_set("maxmemory", 0)


def test_a_server_that_refuses_to_look_keeps_nobody_from_reading(
    make: Make, name: str, direct: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    consumer, found = held(make(), name, b"1")
    direct.execute_command("ACL", "SETUSER", "default", "-zrangebyscore")
    try:
        assert consumer._parking.run(time.monotonic()) is False
        assert consumer._parking.run(time.monotonic()) is False
        assert caplog.text.count("cannot look for what waits for its time") == 1
    finally:
        direct.execute_command("ACL", "SETUSER", "default", "+@all")
    consumer.ack(found)
