"""TLS, Unix sockets and prefixes, each against a real server of its own and beside Celery's transport."""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable
from typing import Any

import kombu
import pytest
import redis

from umbel_broker_redis import RedisBroker
from umbel_kernel.errors import ConfigurationError, OperationalError
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Binding, Exchange, Queue
from umbel_kernel.url import URL
from umbel_testkit.broker import BrokerConformance


class Tls:
    """A server that speaks TLS on a second port.

    Attributes:
        place: host and port with TLS.
    """

    def __init__(self, start_redis: Callable[..., Any], certificates: Any, clients: str, port: int) -> None:
        self.certificates = certificates
        self.place = f"localhost:{port}"
        options = ["--tls-port", str(port), "--tls-auth-clients", clients, "--tls-ca-cert-file", certificates.authority]
        options += ["--tls-cert-file", certificates.server, "--tls-key-file", certificates.server_key]
        self.server = start_redis(*options)

    @property
    def trusted(self) -> dict[str, str]:
        return {"ssl_ca_certs": self.certificates.authority}

    @property
    def own(self) -> dict[str, str]:
        return {"ssl_certfile": self.certificates.client, "ssl_keyfile": self.certificates.client_key}


@pytest.fixture
def free_port(start_redis: Callable[..., Any]) -> int:
    """A port that a server had which is gone."""
    server = start_redis()
    server.stop()
    return int(server.port)


@pytest.fixture
def tls(start_redis: Callable[..., Any], certificates: Any, free_port: int) -> Tls:
    return Tls(start_redis, certificates, "no", free_port)


@pytest.fixture
def strict_tls(start_redis: Callable[..., Any], certificates: Any, free_port: int) -> Tls:
    return Tls(start_redis, certificates, "yes", free_port)


def round_trip(url: str, **options: Any) -> None:
    """Publish, wait for it, be woken, acknowledge."""
    broker = RedisBroker(URL.parse(url), options)
    consumer = broker.consumer([Queue("tasks")])
    assert consumer.receive(1, 0.05) == []
    broker.publish([Message(b"x" * 100_000, "tasks")])
    found = consumer.receive(1, 5)
    assert [len(d.body) for d in found] == [100_000]
    consumer.ack(found)
    broker.close()


def refusal(url: str, **options: Any) -> str:
    broker = RedisBroker(URL.parse(url), options)
    with pytest.raises(OperationalError) as caught:
        broker.connect(timeout=3)
    broker.close()
    return str(caught.value)


@pytest.mark.parametrize("checks", [ssl.CERT_REQUIRED, "CERT_REQUIRED", "required", "CERT_OPTIONAL", "optional"])
def test_tls_by_the_dict_that_celery_takes(tls: Tls, checks: Any) -> None:
    round_trip(f"redis://{tls.place}/2", broker_use_ssl={"ssl_cert_reqs": checks, **tls.trusted})
    round_trip(f"rediss://{tls.place}/2", broker_use_ssl={"ssl_cert_reqs": checks, **tls.trusted})


def test_tls_by_the_query(tls: Tls) -> None:
    query = f"ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={tls.certificates.authority}"
    round_trip(f"rediss://{tls.place}/2?{query}")
    round_trip(f"redis://{tls.place}/2?{query}")  # the option asks for TLS, as with kombu
    round_trip(f"rediss://{tls.place}?ssl_cert_reqs=none")
    round_trip(f"rediss://127.0.0.1:{tls.place.split(':')[1]}?{query}&ssl_check_hostname=false&ssl_min_version=TLSv1_3")


def test_the_same_url_leads_celery_to_the_same_queue(tls: Tls) -> None:
    url = f"rediss://{tls.place}/2?ssl_cert_reqs=CERT_REQUIRED&ssl_ca_certs={tls.certificates.authority}"
    broker = RedisBroker(URL.parse(url))
    with kombu.Connection(url) as connection:
        connection.Producer().publish([1], routing_key="tasks")
    assert broker.consumer([Queue("tasks")]).receive(1, 5)[0].body == b"[1]"
    broker.close()


def test_a_certificate_that_nobody_vouches_for_is_refused(tls: Tls) -> None:
    assert "name its authority's certificate in ssl_ca_certs" in refusal(f"rediss://{tls.place}")
    said = refusal(f"rediss://{tls.place}", broker_use_ssl={"ssl_ca_certs": tls.certificates.stranger})
    assert "is not trusted here" in said
    round_trip(f"rediss://{tls.place}", broker_use_ssl={"ssl_cert_reqs": ssl.CERT_NONE})


def test_a_certificate_for_another_name_is_refused(tls: Tls) -> None:
    place = f"127.0.0.2:{tls.place.split(':')[1]}"
    redis.Redis(port=tls.server.port).config_set("bind", "127.0.0.1 127.0.0.2")
    said = refusal(f"rediss://{place}", broker_use_ssl=tls.trusted)
    assert "its certificate is for another name" in said
    round_trip(f"rediss://{place}", broker_use_ssl={**tls.trusted, "ssl_check_hostname": False})


def test_a_certificate_of_the_client(strict_tls: Tls) -> None:
    url = f"rediss://{strict_tls.place}"
    round_trip(url, broker_use_ssl={**strict_tls.trusted, **strict_tls.own})
    assert "ssl_certfile" in refusal(url, broker_use_ssl=strict_tls.trusted)


def test_tls_and_no_tls_mistaken_for_each_other(tls: Tls) -> None:
    assert "is it without TLS (rediss://)?" in refusal(f"redis://{tls.place}")
    said = refusal(f"rediss://{tls.server.place}", broker_use_ssl=tls.trusted)
    assert "does it speak TLS at that port?" in said


def test_a_certificate_that_is_not_there(tls: Tls) -> None:
    said = refusal(f"rediss://{tls.place}", broker_use_ssl={"ssl_ca_certs": "/nowhere/ca.pem"})
    assert "look at the paths in ssl_ca_certs" in said


@pytest.mark.parametrize("password", ["", "p@ss:w/rd"])
def test_a_unix_socket(start_redis: Callable[..., Any], password: str) -> None:
    server = start_redis(*(("--requirepass", password) if password else ()))
    who = ":p%40ss%3Aw%2Frd@" if password else ""
    url = f"redis+socket://{who}{server.socket}?virtual_host=3"
    round_trip(url)
    broker = RedisBroker(URL.parse(url))
    with kombu.Connection(url) as connection:
        connection.Producer().publish([1], routing_key="tasks")
    assert broker.consumer([Queue("tasks")]).receive(1, 5)[0].body == b"[1]"
    broker.close()
    server.stop()
    said = refusal(url)
    assert str(server.socket) in said and "is it running?" in said
    assert "w/rd" not in said and "w%2Frd" not in said


@pytest.mark.parametrize(
    "url", ["redis+socket://run/redis.sock", "redis+socket://", "redis+tcp://h", "rediss+socket:///x"]
)
def test_other_urls_are_named(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"three slashes|Redis is reached by redis://"):
        RedisBroker(URL.parse(url))


PREFIXED = "team-a:"


def test_a_prefix_is_before_every_key_and_channel(redis_server: Any) -> None:
    """Also where Celery's transport writes and listens."""
    direct = redis.Redis(port=redis_server.port)
    heard = direct.pubsub()
    heard.psubscribe("*")
    heard.get_message(timeout=2)
    options = {"global_keyprefix": PREFIXED}
    broker = RedisBroker(URL.parse(redis_server.url), options)
    topic, fanout = Exchange("news", "topic"), Exchange("all", "fanout")
    tasks, ear = Queue("tasks", (Binding(topic, "a.*"),)), Queue("ear", (Binding(fanout),), auto_delete=True)
    broker.declare([tasks, ear])
    consumer, listener = broker.consumer([tasks]), broker.consumer([ear])
    with kombu.Connection(redis_server.url, transport_options=options) as connection:
        theirs = kombu.Queue("tasks", kombu.Exchange("news", "topic"), routing_key="a.*")(connection.channel())
        theirs.declare()
        their_ear = kombu.Queue("their-ear", kombu.Exchange("all", "fanout"), auto_delete=True)
        got: list[Any] = []
        with connection.Consumer([their_ear], callbacks=[lambda body, message: got.append(body)], accept=["json"]):
            # To each other, by name, by topic, and to all.
            connection.Producer().publish([1], exchange="news", routing_key="a.b")
            found = consumer.receive(1, 5)
            assert [d.body for d in found] == [b"[1]"]
            consumer.ack(found)
            broker.publish([Message(b"[2]", "a.c", "news")])
            message = next(m for m in iter(theirs.get, object()) if m is not None)
            assert message.payload == [2]
            assert direct.keys("team-a:unacked*")
            message.ack()
            with contextlib.suppress(TimeoutError):
                connection.drain_events(timeout=0.3)  # only now it subscribes
            connection.Producer().publish([3], exchange="all", routing_key="")
            assert [d.body for d in listener.receive(1, 5)] == [b"[3]"]
            broker.publish([Message(b"[4]", "", "all")])
            while got != [[3], [4]]:
                connection.drain_events(timeout=5)
    broker.publish([Message(b"[5]", "tasks")])
    held = consumer.receive(1, 5)
    assert len(held) == 1
    assert [key for key in direct.keys("*") if not key.startswith(PREFIXED.encode())] == []
    assert direct.keys("team-a:umbel.*"), "what is held is written down under the prefix"
    consumer.ack(held)
    broker.close()
    channels = {said["channel"] for said in iter(lambda: heard.get_message(timeout=0.2), None) if said["channel"]}
    assert channels and [channel for channel in channels - {b"*"} if not channel.startswith(PREFIXED.encode())] == []


def test_programs_of_different_prefixes_do_not_meet(redis_server: Any) -> None:
    brokers = [RedisBroker(URL.parse(redis_server.url), {"global_keyprefix": prefix}) for prefix in ("a.", "b.", "")]
    for number, broker in enumerate(brokers):
        broker.publish([Message(str(number).encode(), "tasks")])
    for number, broker in enumerate(brokers):
        assert [d.body for d in broker.consumer([Queue("tasks")]).receive(9, 1)] == [str(number).encode()]
        broker.close()


@pytest.mark.slow
class TestTls(BrokerConformance):
    """The whole contract over TLS with certificates on both sides."""

    urgent_priority = 0
    idle_priority = 9
    short_lease_options = {"lease": 1.0}

    @pytest.fixture
    def make_broker(self, strict_tls: Tls) -> Any:
        tls = {**strict_tls.trusted, **strict_tls.own}
        return lambda **options: RedisBroker(
            URL.parse(f"rediss://{strict_tls.place}"), {"broker_use_ssl": tls, **options}
        )

    @pytest.fixture
    def make_unreachable(self) -> Any:
        return lambda: RedisBroker(URL.parse("rediss://user:seecret@127.0.0.1:1/0"))
