"""Leases: what a dead consumer held comes back once, what a living one holds stays, and nothing is left in Redis."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
import redis

from umbel_broker_redis import RedisBroker
from umbel_kernel.errors import ConfigurationError, OperationalError
from umbel_kernel.spi.message import Delivery, Message
from umbel_kernel.spi.topology import Queue
from umbel_kernel.url import URL
from umbel_testkit.background import Background, together
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


@pytest.mark.parametrize("lease", [-1, "-0.5", 1e9])
def test_a_lease_is_a_number_of_seconds(lease: Any) -> None:
    with pytest.raises(ConfigurationError, match="lease is a number of seconds"):
        RedisBroker(URL.parse("redis://"), {"lease": lease})


def test_the_default_is_ten_seconds(redis_server: Any, name: str) -> None:
    broker = RedisBroker(URL.parse(redis_server.url))
    assert broker.consumer([Queue(name)]).lease == 10.0
    broker.close()


def test_what_is_held_stands_raw_under_a_number_and_its_list(make: Any, direct: Any, name: str) -> None:
    broker = make()
    broker.publish([Message(b"a", name, priority=3), Message(b"b", name)])
    raw = [direct.lindex(key, 0) for key in (name, f"{name}\x06\x163")]
    consumer = broker.consumer([Queue(name)], name="w1@host")
    held = take(consumer, 2)
    key = f"umbel.unacked.{consumer.identity}"
    assert consumer.identity.startswith("w1@host.")
    assert direct.hgetall(key) == {f"1:{name}".encode(): raw[0], f"2:{name}\x06\x163".encode(): raw[1]}
    seconds, micros = direct.time()
    assert direct.zscore("umbel.consumers", consumer.identity) / 1000 == pytest.approx(
        seconds + micros / 1e6 + LEASE, abs=LEASE / 2
    )
    consumer.ack(held)
    consumer.close()
    assert direct.keys("*") == []


def test_what_a_dead_consumer_held_comes_back_in_front_and_in_order(make: Any, direct: Any, name: str) -> None:
    broker = make()
    urgent = [b"u0", b"u1"]
    bodies = send(broker, name, 700, priority=6)
    broker.publish([Message(body, name) for body in urgent])
    dead = broker.consumer([Queue(name)])
    assert len(take(dead, 600)) == 600
    die(dead)
    other = make().consumer([Queue(name)])
    began = time.monotonic()
    rest = [found.body for found in take(other, 102)]
    assert rest == bodies[598:], "what waits is read before the lease of the dead one is over"
    back = take(other, 600)
    assert time.monotonic() - began < 5
    assert [found.body for found in back] == urgent + bodies[:598]
    assert all(found.redelivered and found.delivery_count == 1 for found in back)
    assert other.receive(10, 2 * LEASE) == []
    other.ack(back)
    other.close()
    assert set(direct.keys("*")) == set() or direct.hlen(f"umbel.unacked.{other.identity}") == 0


def test_thousands_come_back_in_a_moment_and_each_once(make: Any, direct: Any, name: str) -> None:
    count = 6000
    broker = make()
    send(broker, name, count, headers={"id": "x" * 36, "argsrepr": "y" * 500})
    dead = broker.consumer([Queue(name)])
    take(dead, count, within=30)
    die(dead)
    time.sleep(LEASE)
    sweepers = [make() for _ in range(3)]
    readers = [each.consumer([Queue(name)]) for each in sweepers]
    time.sleep(LEASE)
    began = time.monotonic()

    def read(reader: Any) -> Callable[[], list[bytes]]:
        def all_of_it() -> list[bytes]:
            found: list[bytes] = []
            while time.monotonic() - began < 20 and direct.get("seen") is None:
                batch = reader.receive(500, 0.1)
                found += [delivery.body for delivery in batch]
                reader.ack(batch)
                if direct.incrby("count", len(batch)) >= count:
                    direct.set("seen", 1)
            return found

        return all_of_it

    parts = together([read(reader) for reader in readers], within=30)
    took = time.monotonic() - began
    found = [int(body) for part in parts for body in part]
    assert sorted(found) == list(range(count))
    print(f"{count} messages were given back, read and acknowledged in {took:.2f} s")
    assert took < 5
    for reader in readers:
        reader.close()
    direct.delete("seen", "count")
    assert direct.keys("*") == []


def test_deliveries_are_counted_over_several_deaths(make: Any, name: str) -> None:
    broker = make()
    send(broker, name, 1)
    for count in range(3):
        consumer = broker.consumer([Queue(name)])
        (found,) = take(consumer, 1)
        assert (found.delivery_count, found.redelivered) == (count, count > 0)
        assert found.headers == {}
        die(consumer)
    last = broker.consumer([Queue(name)])
    last.ack(take(last, 1))


def test_a_consumer_that_only_waits_keeps_what_it_holds(make: Any, name: str) -> None:
    broker = make()
    send(broker, name, 1)
    holder, other = broker.consumer([Queue(name)]), make().consumer([Queue(name)])
    held = take(holder, 1)
    waiting = Background(lambda: holder.receive(1, 5 * LEASE))
    assert other.receive(1, 5 * LEASE) == []
    assert waiting.result(within=5) == []
    assert not holder.in_doubt
    holder.ack(held)


def test_nobody_sweeps_before_it_has_been_there_for_a_lease(make: Any, direct: Any, name: str) -> None:
    broker = make()
    send(broker, name, 1)
    holder = broker.consumer([Queue(name)])
    held = take(holder, 1)
    time.sleep(2 * LEASE)  # as after a restart of the server, its lease is over for all that can be seen
    other = make().consumer([Queue(name)])
    assert other.receive(1, LEASE / 2) == []
    assert holder.in_doubt
    assert holder.missing(held) == []
    assert not holder.in_doubt
    assert other.receive(1, LEASE / 2 + 0.1) == []
    holder.extend(held)
    holder.ack(held)
    assert direct.hlen(f"umbel.unacked.{holder.identity}") == 0


def test_a_stopped_consumer_learns_what_it_has_lost(make: Any, name: str) -> None:
    broker = make()
    send(broker, name, 4)
    stopped, other = broker.consumer([Queue(name)]), make().consumer([Queue(name)])
    held = take(stopped, 3)
    assert not stopped.in_doubt
    assert stopped.missing(held) == []
    found = take(other, 4)
    other.ack(found[:1])
    assert stopped.in_doubt
    stopped.extend(held)  # by the thread that keeps leases, before the worker's loop has come to ask
    assert stopped.in_doubt
    assert stopped.missing(held) == held
    assert not stopped.in_doubt
    stopped.ack(held)
    stopped.reject(held, requeue=True)
    other.reject(found[1:], requeue=True)
    assert sorted(delivery.body for delivery in take(other, 3)) == sorted(delivery.body for delivery in found[1:])


def test_a_consumer_that_wakes_up_while_it_is_given_back_keeps_the_rest(make: Any, direct: Any, name: str) -> None:
    broker = make()
    send(broker, name, 10)
    stopped = broker.consumer([Queue(name)])
    held = take(stopped, 10)
    key = f"umbel.unacked.{stopped.identity}"
    direct.zadd("umbel.consumers", {stopped.identity: 0})  # one that sweeps has begun, and taken two
    for delivery in held[:2]:
        direct.hdel(key, delivery.tag)
    assert not stopped.in_doubt
    stopped.extend(held)
    assert stopped.in_doubt, "the server has said that its lease had lapsed"
    assert stopped.missing(held) == held[:2]
    assert direct.zscore("umbel.consumers", stopped.identity) > 0
    stopped.ack(held)
    assert direct.hlen(key) == 0


# The lost connection


def test_holds_outlive_the_connection(make: Any, direct: Any, name: str) -> None:
    broker = make(lease=5.0)
    bodies = send(broker, name, 5)
    first = broker.consumer([Queue(name)])
    held = take(first, 4)
    first.ack(held[:1])
    direct.client_kill_filter(skipme=True, _type="normal")
    with pytest.raises(OperationalError):
        for _ in range(3):
            first.receive(1, 0.2)
    first.close()
    again = make(lease=5.0)
    second = again.consumer([Queue(name)], identity=first.identity)
    assert second.identity == first.identity
    assert not second.in_doubt
    lost = list(second.missing([*held[1:3], Delivery(b"", name, f"99:{name}")]))
    assert [delivery.tag for delivery in lost] == [f"99:{name}"]
    # Of the fourth nothing is known any more, so it goes back; the fifth was never taken.
    found = take(second, 2)
    assert [(delivery.body, delivery.redelivered) for delivery in found] == [(bodies[3], True), (bodies[4], False)]
    assert len({delivery.tag for delivery in (*held, *found)}) == 6
    second.ack([*held[1:3], *found])
    second.close()
    assert direct.keys("*") == []


def test_an_acknowledgement_that_was_swallowed_is_made_again(make: Any, direct: Any, name: str) -> None:
    broker = make(lease=5.0)
    send(broker, name, 3)
    first = broker.consumer([Queue(name)])
    held = take(first, 3)
    key = f"umbel.unacked.{first.identity}"
    before = direct.hgetall(key)
    first.ack(held[:2])
    direct.hset(key, mapping=before)  # as if the server had not heard of it
    direct.client_kill_filter(skipme=True, _type="normal")
    with pytest.raises(OperationalError):
        for _ in range(3):
            first.receive(0, 0)
            first.receive(1, 0.2)
    first.close()
    second = make(lease=5.0).consumer([Queue(name)], identity=first.identity)
    assert list(second.missing(held[2:])) == []
    assert second.receive(5, 0.3) == []
    second.ack(held[2:])
    second.close()
    assert direct.keys("*") == []


def test_an_identity_that_nobody_knows_begins_anew(make: Any, name: str) -> None:
    broker = make()
    send(broker, name, 1)
    consumer = broker.consumer([Queue(name)], identity="nobody.123")
    stranger = Delivery(b"", name, f"1:{name}")
    assert list(consumer.missing([stranger])) == [stranger]
    (found,) = take(consumer, 1)
    consumer.ack([stranger])
    assert consumer.missing([found]) == []
    consumer.ack([found])


def test_a_close_without_a_connection_leaves_all_to_the_lease(make: Any, direct: Any, name: str) -> None:
    broker = make()
    send(broker, name, 2)
    first = broker.consumer([Queue(name)])
    take(first, 2)
    direct.client_kill_filter(skipme=True, _type="normal")
    with pytest.raises(OperationalError):
        for _ in range(3):
            first.receive(1, 0.2)
    first.close()
    assert direct.hlen(f"umbel.unacked.{first.identity}") == 2
    other = make().consumer([Queue(name)])
    other.ack(take(other, 2))
    other.close()
    assert direct.keys("*") == []


def test_a_lease_that_ran_out_while_the_connection_was_lost(make: Any, direct: Any, name: str) -> None:
    broker = make()
    send(broker, name, 2)
    first, other = broker.consumer([Queue(name)]), make().consumer([Queue(name)])
    held = take(first, 2)
    die(first)
    first._lost = True
    first._closed = False
    first.close()
    found = take(other, 2)
    second = make().consumer([Queue(name)], identity=first.identity)
    assert second.in_doubt, "others have what it held"
    assert list(second.missing(held)) == held
    assert not second.in_doubt
    other.ack(found)


@pytest.mark.parametrize("kept", [True, False])
def test_a_restart_of_the_server(start_redis: Any, name: str, kept: bool) -> None:
    server = start_redis(*(("--appendonly", "yes", "--appendfsync", "always") if kept else ()))
    url = URL.parse(server.url)
    options = {"lease": 1.0, "socket_timeout": 1.0}
    broker = RedisBroker(url, options)
    send(broker, name, 4)
    workers = [broker.consumer([Queue(name)]) for _ in range(2)]
    held = [take(worker, 2) for worker in workers]
    server.stop()
    for worker in workers:
        with pytest.raises(OperationalError):
            worker.receive(1, 1)
        worker.close()
    time.sleep(1.2)  # all leases are over when it comes back
    server.start()
    brokers = [RedisBroker(url, options) for _ in workers]
    resumed = [made.consumer([Queue(name)], identity=old.identity) for made, old in zip(brokers, workers, strict=True)]
    for one, mine in zip(resumed, held, strict=True):
        assert not one.in_doubt, "nobody else can have what a server that was started anew does not know"
        assert list(one.missing(mine)) == ([] if kept else mine)
    end = time.monotonic() + 2.5
    while time.monotonic() < end:
        assert [found for one in resumed for found in one.receive(4, 0.1)] == []
    for one, mine in zip(resumed, held, strict=True):
        one.ack(mine)
        one.close()
    direct = redis.Redis(port=server.port)
    assert direct.keys("*") == []
    direct.close()
    for made in (broker, *brokers):
        made.close()
