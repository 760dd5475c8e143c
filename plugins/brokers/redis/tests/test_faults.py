"""A server that goes away, garbage in a queue, and messages exchanged with Celery's own transport."""

from __future__ import annotations

import json
import socket
import threading
import time
import uuid
from typing import Any

import kombu
import pytest
import redis

from umbel_broker_redis import RedisBroker
from umbel_kernel.errors import OperationalError, PublishError
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Binding, Exchange, Queue
from umbel_kernel.url import URL


@pytest.fixture
def name() -> str:
    return f"faults-{uuid.uuid4().hex}"


def test_publish_says_what_was_not_taken_and_works_after_a_restart(redis_server: Any, name: str) -> None:
    broker = RedisBroker(URL.parse(redis_server.url))
    broker.connect(timeout=2)
    message = Message(b"x", name)
    broker.publish([message])
    redis_server.stop()
    with pytest.raises(PublishError) as caught:
        broker.publish([message, message], timeout=1)
    assert list(caught.value.failed) == [message, message]
    with pytest.raises(OperationalError):
        broker.connect(timeout=0.5)
    redis_server.start()
    broker.publish([message])
    assert broker.size([name]) == {name: 1}
    broker.close()


def test_a_waiting_receive_hears_of_the_end(redis_server: Any, name: str) -> None:
    broker = RedisBroker(URL.parse(redis_server.url))
    broker.connect(timeout=2)
    consumer = broker.consumer([Queue(name)])
    threading.Timer(0.2, redis_server.stop).start()
    started = time.monotonic()
    with pytest.raises(OperationalError):
        consumer.receive(1, 20)
    assert time.monotonic() - started < 5
    with pytest.raises(OperationalError):
        consumer.receive(1, 0)
    consumer.close()
    broker.close()


def test_a_server_that_is_silent_ends_publish_in_time(name: str) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        broker = RedisBroker(URL.parse(f"redis://u:seecret@127.0.0.1:{silent.getsockname()[1]}/0"))
        started = time.monotonic()
        with pytest.raises(PublishError) as caught:
            broker.publish([Message(b"x", name)], timeout=0.5)
        assert time.monotonic() - started < 2
        assert "seecret" not in str(caught.value)
        broker.close()


@pytest.mark.parametrize("raw", [b"\xff\x00 no json", b'{"broken', b"[1]", b'{"properties": 1}', b'{"body": 3}', b""])
def test_garbage_is_delivered_as_it_is(redis_server: Any, name: str, raw: bytes) -> None:
    direct = redis.Redis(port=redis_server.port)
    broker = RedisBroker(URL.parse(redis_server.url), {"lease": 0.2})
    consumer = broker.consumer([Queue(name)])
    direct.lpush(name, raw)
    broker.publish([Message(b"good", name)])
    found = consumer.receive(10, 2)
    assert [(d.body, d.content_type) for d in found] == [(raw, ""), (b"good", "application/json")]
    consumer.ack(found[1:])
    other = broker.consumer([Queue(name)])
    again = other.receive(1, 5)
    assert again[0].body == raw
    other.ack(again)
    broker.close()
    assert direct.keys("*") == []


def test_celery_reads_what_we_write_and_the_reverse(redis_url: str, name: str) -> None:
    broker = RedisBroker(URL.parse(redis_url))
    headers = {"id": "1", "task": "a.b", "retries": 0, "timelimit": [None, 2.5], "eta": None}
    message = Message(b"[[], {}, {}]", name, headers=headers, correlation_id="1", reply_to="me", priority=3)
    with kombu.Connection(redis_url) as connection:
        queue = kombu.Queue(name)(connection.channel())
        broker.publish([message])
        theirs = queue.get()
        assert (theirs.body, theirs.headers) == (b"[[], {}, {}]", headers)
        assert (theirs.properties["correlation_id"], theirs.properties["reply_to"]) == ("1", "me")
        theirs.ack()
        connection.Producer().publish([1, 2], routing_key=name, headers=headers, correlation_id="2", priority=6)
    consumer = broker.consumer([Queue(name)])
    ours = consumer.receive(1, 5)
    assert json.loads(ours[0].body) == [1, 2]
    assert (ours[0].headers, ours[0].correlation_id, ours[0].priority) == (headers, "2", 6)
    consumer.ack(ours)
    broker.delete([name])
    broker.close()


def test_the_envelope_has_the_members_that_kombu_writes(redis_url: str, name: str) -> None:
    def shape(value: Any) -> Any:
        return {key: shape(item) for key, item in value.items()} if isinstance(value, dict) else type(value)

    direct = redis.Redis.from_url(redis_url)
    broker = RedisBroker(URL.parse(redis_url))
    broker.publish([Message(b"[1, 2]", name, correlation_id="c", reply_to="r", headers={"a": 1})])
    ours = json.loads(direct.rpop(name))
    with kombu.Connection(redis_url) as connection:
        connection.Producer().publish([1, 2], routing_key=name, correlation_id="c", reply_to="r", headers={"a": 1})
    theirs = json.loads(direct.rpop(name))
    assert shape(ours) == shape(theirs)
    ours["properties"].pop("delivery_tag")
    theirs["properties"].pop("delivery_tag")
    assert ours == theirs
    broker.close()


def test_bindings_and_fanout_are_shared_with_kombu(redis_url: str, name: str) -> None:
    topic, fanout = Exchange(f"{name}.t", "topic"), Exchange(f"{name}.f", "fanout")
    broker = RedisBroker(URL.parse(redis_url))
    broker.declare([Queue(name, (Binding(topic, "a.*"),)), Queue(f"{name}.ear", (Binding(fanout),), auto_delete=True)])
    reader, ear = broker.consumer([Queue(name)]), broker.consumer([Queue(f"{name}.ear", auto_delete=True)])
    with kombu.Connection(redis_url) as connection:
        producer = connection.Producer()
        producer.publish("t", exchange=kombu.Exchange(topic.name, "topic"), routing_key="a.b", declare=[])
        connection.default_channel.exchange_declare(topic.name, "topic")
        connection.default_channel.exchange_declare(fanout.name, "fanout")
        producer.publish("t", exchange=topic.name, routing_key="a.b")
        producer.publish("f", exchange=fanout.name, routing_key="")
    assert b"t" in reader.receive(1, 5)[0].body
    assert b"f" in ear.receive(1, 5)[0].body
    stranger = RedisBroker(URL.parse(redis_url))
    stranger.publish([Message(b"to all", "", fanout.name), Message(b"topic", "a.c", topic.name)])
    assert ear.receive(1, 5)[0].body == b"to all"
    broker.delete([name, f"{name}.ear"])
    stranger.close()
    broker.close()


def test_what_a_dead_celery_consumer_held_comes_back(redis_server: Any, name: str) -> None:
    direct = redis.Redis(port=redis_server.port)
    broker = RedisBroker(URL.parse(redis_server.url), {"visibility_timeout": 1.0})
    broker.publish([Message(b"held", name, priority=3)])
    raw = json.loads(direct.rpop(f"{name}\x06\x163"))
    direct.hset("unacked", "tag", json.dumps([raw, "", name]))
    direct.zadd("unacked_index", {"tag": time.time() - 10})
    consumer = broker.consumer([Queue(name)])
    found = consumer.receive(1, 5)
    assert (found[0].body, found[0].redelivered) == (b"held", True)
    broker.close()
