"""What consumers leave behind: nothing of their own, and what is malformed or Celery's is dealt with."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
import time
from typing import Any

import pytest

from umbel_broker_redis import RedisBroker
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Binding, Exchange, Queue
from umbel_testkit.taking import take

LEASE = 0.4


def send(broker: RedisBroker, name: str, count: int, **properties: Any) -> list[bytes]:
    """Publish so many messages; their bodies."""
    bodies = [str(number).encode() for number in range(count)]
    broker.publish([Message(body, name, **properties) for body in bodies])
    return bodies


def die(consumer: Any) -> None:
    """End a consumer as kill -9 would: without a word."""
    consumer._end()


PROGRAM = """
    import sys, time
    from umbel_broker_redis import RedisBroker
    from umbel_kernel.spi.topology import Binding, Exchange, Queue
    from umbel_kernel.url import URL

    url, name = sys.argv[1:]
    broker = RedisBroker(URL.parse(url), {"lease": 0.5})
    box = Queue(f"{name}.box", (Binding(Exchange("all.fanout", "fanout")),), auto_delete=True, expires=10.0)
    own = Queue(f"{name}.own", (Binding(Exchange("some.topic", "topic"), "a.*"),), exclusive=True)
    work = Queue(name, (Binding(Exchange("work", "direct"), "work"),))
    broker.declare([box, own, work])
    ears = broker.consumer([box]), broker.consumer([own])
    consumer = broker.consumer([work])
    held = consumer.receive(10, 5)
    print(len(held), flush=True)
    if sys.stdin.read(1) == "c":
        broker.close()
    else:
        while True:
            for ear in ears:
                ear.receive(1, 0.1)
"""


@pytest.mark.parametrize("how", ["closed", "killed"])
def test_nothing_is_left_of_a_consumer(redis_server: Any, make: Any, direct: Any, name: str, how: str) -> None:
    broker = make(lease=0.5)
    work = Queue(name, (Binding(Exchange("work", "direct"), "work"),))
    broker.declare([work])
    before = set(direct.keys("*"))
    other = broker.consumer([work])
    send(make(), name, 3)
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), redis_server.url, name]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        assert process.stdout.readline() == b"3\n"
        broker.publish([Message(b"to its own", "a.b", "some.topic")])
        there = set(direct.keys("*")) - before
        assert {b"_kombu.binding.all.fanout", b"_kombu.binding.some.topic", f"{name}.own".encode()} <= there
        if how == "closed":
            process.communicate(b"c", timeout=10)
        else:
            time.sleep(1.2)  # longer than its lease: what it hears and owns stays as long as it reads
            assert set(direct.keys("*")) - before == there
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    found = take(other, 3)
    assert [delivery.redelivered for delivery in found] == [True] * 3
    other.ack(found)
    end = time.monotonic() + 5
    while set(direct.keys("*")) - {b"umbel.consumers"} != before and time.monotonic() < end:
        other.receive(1, 0.05)
    other.close()
    assert set(direct.keys("*")) == before


def test_a_queue_that_two_share_does_not_end_with_one_of_them(make: Any, direct: Any, name: str) -> None:
    queue = Queue(name, (Binding(Exchange("shared.topic", "topic"), "#"),), exclusive=True)
    dead, living = make(), make()
    for broker in (dead, living):
        broker.declare([queue])
    first, second = dead.consumer([queue]), living.consumer([queue])
    die(first)
    end = time.monotonic() + 4 * LEASE
    while time.monotonic() < end:
        second.receive(1, 0.05)
    assert direct.keys("umbel.temporary.*") == [f"umbel.temporary.{second.identity}".encode()]
    make().publish([Message(b"heard", "x", "shared.topic")])
    assert take(second, 1)[0].body == b"heard"


def test_malformed_entries_are_put_where_somebody_can_look(make: Any, direct: Any, name: str, caplog: Any) -> None:
    good = json.dumps({"body": "", "properties": {}, "headers": {}})
    entries = {b"no number": b"a", b"\xff\xfe": b"b", b":": b"c", b"1:": b"d", f"2:{name}".encode(): b"\xff no json"}
    direct.hset("umbel.unacked.gone", mapping={**entries, f"{'9' * 40}:{name}".encode(): good})
    direct.zadd("umbel.consumers", {"gone": 1})
    direct.set("umbel.unacked.odd", "no hash")
    direct.zadd("umbel.consumers", {"odd": 1, b"\xff\xff": 1})
    broker = make()
    consumer = broker.consumer([Queue(name)])
    found = take(consumer, 2)
    assert sorted(delivery.body for delivery in found) == [b"", b"\xff no json"]
    consumer.ack(found)
    assert sorted(direct.lrange("umbel.unreadable", 0, -1)) == [b"a", b"b", b"c", b"d"]
    assert "no consumer took" in caplog.text
    assert "what the consumer odd held cannot be given back" in caplog.text
    assert not direct.exists("umbel.unacked.gone")
    send(broker, name, 1)
    consumer.ack(take(consumer, 1))


def test_a_set_of_consumers_that_is_none_stops_nobody(make: Any, direct: Any, name: str, caplog: Any) -> None:
    consumer = make().consumer([Queue(name)])
    direct.set("umbel.consumers", "no set")
    end = time.monotonic() + 3 * LEASE
    while time.monotonic() < end:
        assert consumer.receive(1, 0.05) == []
    assert caplog.text.count("cannot look for what others held") == 1


def test_what_a_celery_consumer_held_comes_back_after_the_visibility_timeout(make: Any, direct: Any, name: str) -> None:
    broker = make(visibility_timeout=2.0)
    send(broker, name, 2, priority=3)
    for number in range(2):
        raw = json.loads(direct.rpop(f"{name}\x06\x163"))
        direct.hset("unacked", f"tag{number}", json.dumps([raw, "", name]))
        direct.zadd("unacked_index", {f"tag{number}": time.time() - (0 if number else 2)})
    consumer = broker.consumer([Queue(name)])
    began = time.monotonic()
    for number in range(2):
        (found,) = take(consumer, 1)
        assert (found.body, found.redelivered, found.delivery_count) == (str(number).encode(), True, 1)
        consumer.ack([found])
    assert 1.0 < time.monotonic() - began < 5
    consumer.close()
    assert direct.keys("*") == []


def test_a_message_that_fanout_brought_is_never_missing(make: Any, name: str) -> None:
    exchange = Exchange(f"{name}.f", "fanout")
    broker = make()
    queue = Queue(name, (Binding(exchange),), auto_delete=True)
    broker.declare([queue])
    consumer = broker.consumer([queue])
    broker.publish([Message(b"1", "", exchange.name), Message(b"2", "", exchange.name)])
    held = take(consumer, 2)
    assert consumer.missing(held) == []
    consumer.reject(held, requeue=True)
    again = take(consumer, 2)
    assert [(delivery.body, delivery.delivery_count) for delivery in again] == [(b"1", 1), (b"2", 1)]
    consumer.ack(again)
    assert consumer.receive(1, 0.1) == []
