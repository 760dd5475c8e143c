"""The rule of the README for a user of Redis: it is enough, nothing in it is idle, and what is missing is named."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

from umbel_broker_redis import RedisBroker
from umbel_kernel.errors import ChannelError, OperationalError, PublishError
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Binding, Exchange, Queue
from umbel_kernel.url import URL
from umbel_testkit.broker import BrokerConformance
from umbel_testkit.waiting import eventually

README = Path(__file__).parent.parent / "README.md"
RULE = " ".join(re.search(r"^ACL SETUSER worker (.*?)^```", README.read_text(), re.M | re.S)[1].split())
COMMANDS = [word[1:] for word in RULE.split() if word.startswith("+")]
SECRET = "seecret"
PREFIX = "myapp."


def broker_of(server: Any, changes: str = "", db: int = 0, **options: Any) -> RedisBroker:
    """A broker as the user of the rule, with changes to it."""
    rule = RULE.replace(">password", f">{SECRET}").split()
    redis.Redis(port=server.port).execute_command("ACL", "SETUSER", "worker", "reset", *rule, *changes.split())
    url = URL.parse(f"redis://worker:{SECRET}@{server.place}/{db}")
    return RedisBroker(url, {"global_keyprefix": PREFIX, "lease": 0.4, **options})


def used(server: Any) -> set[str]:
    """The commands that the server has run or refused."""
    return {name.removeprefix("cmdstat_") for name in redis.Redis(port=server.port).info("commandstats")}


def exercise(make: Callable[[], RedisBroker]) -> None:
    """All that a broker can do."""
    one, two = make(), make()
    topic, fanout = Exchange("news", "topic"), Exchange("celery.pidbox", "fanout")
    tasks = Queue("tasks", (Binding(topic, "a.*"),), expires=60)
    ears = [Queue(f"ear{n}", (Binding(fanout),), auto_delete=True) for n in (1, 2)]
    one.declare([tasks, ears[0]])
    two.declare([tasks, ears[1]])
    listening = [broker.consumer([tasks, ear]) for broker, ear in ((one, ears[0]), (two, ears[1]))]
    one.publish([Message(b"all", "", "celery.pidbox")])
    for consumer in listening:
        heard = consumer.receive(1, 5)
        assert [d.body for d in heard] == [b"all"]
        consumer.ack(heard)
    # Of two listeners one dies, and the other one finds what it held and its queue.
    one.publish([Message(b"to the dead", "a.b", "news"), Message(b"1", "tasks", priority=3)])
    held = listening[0].receive(2, 5)
    assert len(held) == 2
    listening[0]._link.close()
    found: list[Any] = []

    def back() -> bool:
        found.extend(listening[1].receive(5, 0.05))
        return len(found) == 2

    eventually(back, within=10, what="the messages of a dead consumer")
    assert all(d.redelivered for d in found)
    listening[1].reject(found[:1], requeue=True)
    listening[1].reject(listening[1].receive(1, 5), requeue=False)
    assert listening[1].missing(found[1:]) == []
    listening[1].ack(found[1:])
    one.publish([Message(b"parked", "tasks"), Message(b"put back", "tasks")])
    listening[1].reject(listening[1].receive(2, 5), requeue=True, delay=[0.1, 60])
    listening[1].ack(listening[1].receive(1, 5))
    time.sleep(0.15)  # past the health check
    listening[1].receive(1, 0.2)
    assert two.size(["tasks"]) == {"tasks": 1}
    listening[1].close()
    assert two.size(["tasks"]) == {"tasks": 1}
    assert two.purge(["tasks"]) == 1
    two.delete(["tasks"])
    for broker in (one, two):
        broker.close()


def test_the_rule_is_enough_and_nothing_in_it_is_idle(redis_server: Any) -> None:
    exercise(lambda: broker_of(redis_server, health_check_interval=0.1))
    assert set(COMMANDS) - used(redis_server) == set()
    log = redis.Redis(port=redis_server.port).acl_log()
    assert {entry["object"] for entry in log} <= {"client|setinfo"}, "a library's name for itself may be refused"
    assert [key for key in redis.Redis(port=redis_server.port).keys("*") if not key.startswith(b"myapp.")] == []


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ("-lpush", r"the user 'worker' lacks the permission \+lpush"),
        ("-script|load", r"the user 'worker' lacks the permission \+script\|load"),
        ("resetkeys ~other.*", r"lacks the permission \(~\) for one of the keys of LPUSH: 'myapp.tasks'"),
    ],
)
def test_publishing_says_which_permission_is_missing(redis_server: Any, change: str, missing: str) -> None:
    broker = broker_of(redis_server, change)
    with pytest.raises(PublishError, match=missing) as caught:
        broker.publish([Message(b"x", "tasks")])
    assert SECRET not in str(caught.value)
    assert len(caught.value.failed) == 1
    broker_of(redis_server)  # mended
    broker.publish([Message(b"x", "tasks")])
    broker.close()


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ("-publish", r"the user 'worker' lacks the permission \+publish"),
        ("resetchannels", r"lacks the permission \(&\) for one of the channels of PUBLISH: 'myapp./0.celery.pidbox'"),
    ],
)
def test_a_broadcast_says_which_permission_is_missing(redis_server: Any, change: str, missing: str) -> None:
    broker = broker_of(redis_server, change)
    broker.declare([Queue("ear", (Binding(Exchange("celery.pidbox", "fanout")),), auto_delete=True)])
    with pytest.raises(PublishError, match=missing):
        broker.publish([Message(b"x", "", "celery.pidbox")])
    broker.close()


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        ("-hset", r"HSET on 'myapp.umbel.unacked"),
        ("-time", r"may not run TIME"),
        ("-zadd -zincrby", r"ZINCRBY, ZADD on 'myapp.umbel.consumers'"),
        ("-rpush", r"RPUSH on 'myapp.tasks'"),
        ("resetkeys ~myapp.tasks*", r"lacks the permission \(~\) for one of the keys of EVALSHA"),
        ("-evalsha", r"the user 'worker' lacks the permission \+evalsha"),
        ("resetkeys %R~myapp.tasks* ~myapp.umbel.*", r"lacks the permission \(~\) for one of the keys of EVALSHA"),
    ],
)
def test_nothing_is_taken_by_a_user_who_may_not_write_it_down(redis_server: Any, change: str, missing: str) -> None:
    direct = redis.Redis(port=redis_server.port)
    direct.lpush("myapp.tasks", b'{"body": "eA==", "properties": {"body_encoding": "base64"}}')
    broker = broker_of(redis_server, change)
    with pytest.raises((ChannelError, OperationalError), match=missing) as caught:
        broker.consumer([Queue("tasks")]).receive(1, 1)
    assert SECRET not in str(caught.value)
    assert direct.llen("myapp.tasks") == 1
    broker.close()


def test_another_database_is_a_right_of_its_own(redis_server: Any) -> None:
    broker = broker_of(redis_server, db=1)
    with pytest.raises(OperationalError, match=r"refuses the connection: .*select.*user 'worker'") as caught:
        broker.connect(timeout=2)
    assert SECRET not in str(caught.value)
    broker_of(redis_server, "+select", db=1)
    broker.publish([Message(b"x", "tasks")])
    assert broker.size(["tasks"]) == {"tasks": 1}
    broker.close()


@pytest.mark.parametrize(
    "change",
    ["-client|tracking", "-client|id", "resetchannels &myapp./0.celery.pidbox &myapp./0.celery.pidbox/*", "-client"],
)
def test_without_the_right_to_be_told_queues_are_looked_at(redis_server: Any, change: str) -> None:
    broker = broker_of(redis_server, change)
    plain = broker.consumer([Queue("tasks")])
    fanout = Queue("ear", (Binding(Exchange("celery.pidbox", "fanout")),), auto_delete=True)
    broker.declare([fanout])
    hearing = broker.consumer([fanout])
    broker.publish([Message(b"1", "tasks"), Message(b"all", "", "celery.pidbox")])
    assert [d.body for d in plain.receive(1, 2)] == [b"1"]
    assert [d.body for d in hearing.receive(1, 2)] == [b"all"]
    broker.publish([Message(b"2", "tasks")])
    assert [d.body for d in plain.receive(1, 2)] == [b"2"]
    broker.close()


def test_a_password_that_the_server_quotes_is_not_shown(start_redis: Callable[..., Any]) -> None:
    """A server that has no AUTH answers with what it was sent."""
    server = start_redis("--rename-command", "AUTH", "")
    broker = RedisBroker(URL.parse(f"redis://worker:{SECRET}@{server.place}"))
    with pytest.raises(OperationalError, match="AUTH") as caught:
        broker.connect(timeout=2)
    assert SECRET not in str(caught.value)


@pytest.mark.slow
class TestPermitted(BrokerConformance):
    """The whole contract as the user of the rule, but that the suite's exchanges may have any name."""

    urgent_priority = 0
    idle_priority = 9
    short_lease_options = {"lease": 1.0}

    @pytest.fixture
    def make_broker(self, redis_server: Any) -> Any:
        broker_of(redis_server, "allchannels")
        url = URL.parse(f"redis://worker:{SECRET}@{redis_server.place}/0")
        return lambda **options: RedisBroker(url, {"global_keyprefix": PREFIX, **options})

    @pytest.fixture
    def make_unreachable(self) -> Any:
        return lambda: RedisBroker(URL.parse("redis://user:seecret@127.0.0.1:1/0"))
