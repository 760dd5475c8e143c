"""A master behind real sentinels that dies, steps down, or cannot be found."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import kombu
import pytest

from umbel import Umbel
from umbel_broker_redis import RedisBroker, SentinelBroker
from umbel_kernel.errors import ConfigurationError, OperationalError, PublishError
from umbel_kernel.spi.broker import BrokerCapability
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue
from umbel_kernel.url import URL
from umbel_testkit.broker import BrokerConformance

TASKS = Queue("tasks")


@contextlib.contextmanager
def app_on(url: Any, **options: Any) -> Iterator[Umbel]:
    """An app, which makes one broker of many URLs."""
    app = Umbel("sentinels", broker=url, backend="disabled://", set_as_current=False)
    app.conf.update(broker_transport_options={"master_name": "mymaster", "lease": 1.0, **options.pop("transport", {})})
    app.conf.update(options)
    yield app
    app.close()


def connected(app: Umbel) -> SentinelBroker:
    broker = app.connections.connect(timeout=3)
    assert type(broker) is SentinelBroker
    return broker


def refusal(app: Umbel) -> str:
    with pytest.raises(OperationalError) as caught:
        app.connections.connect(timeout=2)
    return str(caught.value)


def persist(work: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Try again, as workers and producers do, until it works."""
    end = time.monotonic() + seconds
    while True:
        try:
            return work()
        except OperationalError:
            assert time.monotonic() < end, "the new master was not found"
            time.sleep(0.05)


def test_several_urls_are_one_group(start_sentinels: Callable[..., Any]) -> None:
    group = start_sentinels(password="p@ss".replace("@", "a"))
    with app_on(group.url, transport={"sentinel_kwargs": {"password": f"sentinel-{group.password}"}}) as app:
        assert len(app.connections.broker_urls()) == 1
        assert BrokerCapability.GROUP_URL in app.broker_capabilities
        shown = app.broker_text()
        assert all(each.place in shown for each in group.sentinels)
        assert group.password not in shown
        broker = connected(app)
        broker.publish([Message(b"x", "tasks")])
        assert group.ask(group.master(), "llen", "tasks").strip() == "1"
        consumer = broker.consumer([TASKS])
        assert [d.body for d in consumer.receive(1, 2)] == [b"x"]
        broker.close()


def test_a_list_of_urls_and_a_database(start_sentinels: Callable[..., Any]) -> None:
    group = start_sentinels()
    urls = [f"{url}/3" for url in group.url.split(";")]
    with app_on(urls) as app:
        broker = connected(app)
        broker.publish([Message(b"x", "tasks")])
        assert group.ask(group.master(), "-n", "3", "llen", "tasks").strip() == "1"
        broker.close()
    with app_on([urls[0], "sentinel://127.0.0.1:1/4"]) as app, pytest.raises(ConfigurationError, match="several datab"):
        app.connections.connect()


def test_the_same_urls_and_options_lead_celery_to_the_same_queue(start_sentinels: Callable[..., Any]) -> None:
    group = start_sentinels(password="seecret")
    options = {"master_name": "mymaster", "sentinel_kwargs": {"password": "sentinel-seecret"}, "global_keyprefix": "p."}
    with app_on(group.url, transport=options) as app, kombu.Connection(group.url, transport_options=options) as theirs:
        broker = connected(app)
        theirs.Producer().publish([1], routing_key="tasks")
        found = broker.consumer([TASKS]).receive(1, 5)
        assert [d.body for d in found] == [b"[1]"]
        broker.close()
        broker = connected(app)
        broker.publish([Message(b"[2]", "other")])
        message = kombu.Queue("other")(theirs.channel()).get()
        assert message.payload == [2]
        message.ack()
        broker.close()


def test_tls_and_passwords_everywhere(start_sentinels: Callable[..., Any], certificates: Any) -> None:
    group = start_sentinels(password="seecret", certificates=certificates)
    trusted = {"ssl_ca_certs": certificates.authority}
    checked = {"ssl": True, "ssl_cert_reqs": "CERT_REQUIRED", **trusted}
    options = {"sentinel_kwargs": {"password": "sentinel-seecret", **checked}}
    with app_on(group.url, transport=options, broker_use_ssl={"ssl_cert_reqs": "CERT_REQUIRED", **trusted}) as app:
        broker = connected(app)
        broker.publish([Message(b"x", "tasks")])
        assert [d.body for d in broker.consumer([TASKS]).receive(1, 5)] == [b"x"]
        broker.close()
        app.conf.broker_use_ssl = {"ssl_ca_certs": certificates.stranger}
        said = refusal(app)
        assert "is not trusted here" in said and "seecret" not in said


def test_a_dead_master_is_followed_and_what_was_replicated_is_kept(start_sentinels: Callable[..., Any]) -> None:
    group = start_sentinels()
    with app_on(group.url) as app:
        producer, reader = connected(app), connected(app)
        producer.publish([Message(str(n).encode(), "tasks") for n in range(200)])
        consumer = reader.consumer([TASKS])
        before = consumer.receive(50, 5)
        consumer.ack(before[:20])
        dead = group.master()
        heir = next(each for each in group.servers if each is not dead)
        held = ("hlen", f"umbel.unacked.{consumer.identity}")
        group.wait(lambda: group.ask(heir, "llen", "tasks").strip() == "150", "the queue was not replicated")
        group.wait(lambda: group.ask(heir, *held).strip() == "30", "what is held was not replicated")
        dead.stop()
        with pytest.raises(OperationalError, match=r"which sentinel://.* name as master mymaster"):
            while True:
                consumer.receive(1, 1)
        reader.close()
        persist(lambda: producer.publish([Message(str(n).encode(), "tasks") for n in range(200, 300)], timeout=2))
        reader = persist(lambda: connected(app))
        consumer = reader.consumer([TASKS])
        bodies: set[bytes] = set()
        end = time.monotonic() + 20
        while len(bodies) < 280 and time.monotonic() < end:
            found = consumer.receive(100, 0.2)
            consumer.ack(found)
            bodies.update(d.body for d in found)
        assert bodies == {str(n).encode() for n in range(300)} - {d.body for d in before[:20]}
        # The old one comes back, as a replica of the new one, and everybody stays where the master is.
        dead.start()
        group.wait(lambda: group.ask(dead, "role").startswith("slave"), "the old master did not become a replica")
        producer.publish([Message(b"last", "tasks")], timeout=2)
        assert [d.body for d in consumer.receive(1, 5)] == [b"last"]
        for broker in (producer, reader):
            broker.close()


def test_a_master_that_steps_down_is_left(start_sentinels: Callable[..., Any]) -> None:
    group = start_sentinels()
    with app_on(group.url) as app:
        producer, reader = connected(app), connected(app)
        consumer = reader.consumer([TASKS])
        group.fail_over()
        with pytest.raises(OperationalError):
            while True:
                consumer.receive(1, 1)
        persist(lambda: producer.publish([Message(b"x", "tasks")], timeout=2))
        assert group.ask(group.master(), "llen", "tasks").strip() == "1"
        for broker in (producer, reader):
            broker.close()


def test_a_replica_refuses_and_is_not_spoken_to_again(redis_server: Any, start_redis: Callable[..., Any]) -> None:
    """Its connections stay open, so it is the refusal that tells."""
    other = start_redis()
    broker = RedisBroker(URL.parse(redis_server.url))
    consumer = broker.consumer([TASKS])
    broker.publish([Message(b"x", "tasks")])
    assert len(consumer.receive(1, 2)) == 1
    raw = kombu.Connection(redis_server.url).channel().client
    raw.execute_command("REPLICAOF", "127.0.0.1", other.port)
    with pytest.raises(PublishError, match="it is a replica, which takes no writes") as caught:
        broker.publish([Message(b"a", "tasks"), Message(b"b", "", "nowhere"), Message(b"c", "tasks", priority=9)])
    assert [m.body for m in caught.value.failed] == [b"a", b"c"]
    before = time.monotonic()
    with pytest.raises(OperationalError, match="it is a replica"):
        while True:
            consumer.receive(1, 5)
    assert time.monotonic() - before < 4
    raw.execute_command("REPLICAOF", "NO", "ONE")
    broker.publish([Message(b"y", "tasks")])
    broker.close()


def test_what_was_posted_in_a_burst_to_a_replica_is_given_back(redis_server: Any) -> None:
    broker = RedisBroker(URL.parse(redis_server.url))
    broker.post([Message(b"0", "tasks")])
    kombu.Connection(redis_server.url).channel().client.execute_command("REPLICAOF", "127.0.0.1", 1)
    sent, failed, said = [], [], ""
    for n in range(500):
        message = Message(b"%d" % n, "tasks")
        try:
            broker.post([message])
            sent.append(message)
        except PublishError as error:
            failed += error.failed
            said = str(error)
    try:
        broker.flush(timeout=2)
    except PublishError as error:
        failed += error.failed
        said = str(error)
    assert "it is a replica" in said
    assert {id(message) for message in sent} <= {id(message) for message in failed}
    broker.close()


def test_what_is_wrong_with_a_group_is_said(start_sentinels: Callable[..., Any], redis_server: Any) -> None:
    group = start_sentinels(password="seecret")
    right = {"sentinel_kwargs": {"password": "sentinel-seecret"}}
    with app_on(group.url, transport={"sentinel_kwargs": {"password": "wrong-seecret"}}) as app:
        said = refusal(app)
        assert said.count("does not answer: invalid username-password pair") == 3 and "seecret" not in said
    with app_on(group.url, transport={**right, "master_name": "other"}) as app:
        assert refusal(app).count("knows only mymaster") == 3
    with app_on(group.url, transport={**right, "min_other_sentinels": 3}) as app:
        assert "sees 2 other sentinels, fewer than min_other_sentinels" in refusal(app)
    with app_on(group.url.replace("seecret", "wrongone"), transport=right) as app:
        said = refusal(app)
        assert "check the password of user 'default'" in said and "wrongone" not in said
    with app_on(f"sentinel://{redis_server.place}") as app:
        assert f"{redis_server.place} refuses, so it may be no sentinel" in refusal(app)
    without = app_on(group.url, transport={"master_name": None})
    with without as app, pytest.raises(ConfigurationError, match="needs the name of the master"):
        app.connections.connect()
    with app_on(f"{group.url};redis://127.0.0.1") as app, pytest.raises(ConfigurationError, match="mixes sentinels"):
        app.connections.connect()
    for wrong, words in (
        ({"min_other_sentinels": "two"}, "min_other_sentinels is 'two'"),
        ({"sentinel_kwargs": {"passwd": "seecret"}}, "unexpected keyword argument 'passwd'"),
        ({"sentinel_kwargs": {"ssl_cert_reqs": "maybe"}}, "ssl_cert_reqs is 'maybe'"),
    ):
        with app_on(group.url, transport=wrong) as app, pytest.raises(ConfigurationError, match=words) as caught:
            app.connections.connect()
        assert "seecret" not in str(caught.value)
    for each in group.sentinels[:2]:
        each.stop()
    with app_on(group.url, transport=right) as app:
        connected(app).close()  # one of three is enough to be told
        group.sentinels[2].stop()
        said = refusal(app)
        assert said.count("does not answer") == 3 and "no sentinel names a healthy master 'mymaster'" in said


def test_sentinels_that_are_silent_end_in_time() -> None:
    """Nobody answers at an address that is reserved for documents, or at once with an error, as the network has it."""
    with app_on("sentinel://192.0.2.1;sentinel://192.0.2.2;sentinel://192.0.2.3") as app:
        before = time.monotonic()
        with pytest.raises(OperationalError):
            app.connections.connect(timeout=1.5)
        assert time.monotonic() - before < 3


@pytest.mark.slow
class TestSentinels(BrokerConformance):
    """The whole contract behind sentinels."""

    urgent_priority = 0
    idle_priority = 9
    short_lease_options = {"lease": 1.0}

    @pytest.fixture
    def make_broker(self, start_sentinels: Callable[..., Any]) -> Any:
        url = URL.parse(start_sentinels().url.split(";")[0])
        return lambda **options: SentinelBroker(url, {"master_name": "mymaster", **options})

    @pytest.fixture
    def make_unreachable(self) -> Any:
        url = URL.parse("sentinel://user:seecret@127.0.0.1:1/0")
        return lambda: SentinelBroker(url, {"master_name": "mymaster"})
