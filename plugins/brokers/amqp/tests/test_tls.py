"""TLS, logins and what is said when they fail, against a server of one's own."""

from __future__ import annotations

import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from umbel_broker_amqp import AmqpBroker
from umbel_kernel.errors import ConfigurationError, OperationalError
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue
from umbel_kernel.url import URL

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def papers(rabbits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the certificates."""
    found: Path = rabbits.certificates(tmp_path_factory.mktemp("papers"))
    return found


@pytest.fixture(scope="module")
def server(rabbits: Any, papers: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A server that wants a client's certificate."""
    made = rabbits.Rabbit(tmp_path_factory.mktemp("tls"), certificates=papers)
    try:
        made.start()
        yield made
    finally:
        made.close()


def tls(papers: Path, **changes: Any) -> dict[str, Any]:
    found = {"ca_certs": papers / "ca.crt", "certfile": papers / "client.crt", "keyfile": papers / "client.key"}
    return {
        name: value if name not in found else str(value)
        for name, value in {**found, **changes}.items()
        if value is not None
    }


def connect(server: Any, options: dict[str, Any], host: str = "localhost", **parts: str) -> AmqpBroker:
    user, password, vhost = parts.get("user", "guest"), parts.get("password", "guest"), parts.get("vhost", "/")
    url = URL.parse(f"amqps://{user}:{password}@{host}:{server.tls_port}/{vhost}")
    broker = AmqpBroker(url, {"broker_use_ssl": options, "broker_heartbeat": 1})
    try:
        broker.connect(timeout=5)
    except OperationalError:
        broker.close()
        raise
    return broker


def test_messages_go_through_and_heartbeats_go_on_beside_them(server: Any, papers: Path) -> None:
    broker = connect(server, tls(papers, cert_reqs=ssl.CERT_REQUIRED))
    queue = Queue("tls")
    broker.declare([queue])
    consumer = broker.consumer([queue])
    bodies = [bytes((number % 256,)) * (number * 37 % 9000) for number in range(600)]

    def send() -> None:
        for start in range(0, 600, 20):
            broker.publish([Message(body, "tls") for body in bodies[start : start + 20]])
            time.sleep(0.1)

    sender = threading.Thread(target=send)
    sender.start()
    found: list[bytes] = []
    end = time.monotonic() + 30
    while len(found) < 600 and time.monotonic() < end:
        taken = consumer.receive(50, 1)
        found += [delivery.body for delivery in taken]
        consumer.ack(taken)
    sender.join()
    assert found == bodies
    time.sleep(4)  # four heartbeats of silence
    assert broker._outlet.alive
    assert consumer._session.alive
    broker.publish([Message(b"last", "tls")])
    assert [delivery.body for delivery in consumer.receive(1, 5)] == [b"last"]
    broker.close()


def test_a_big_message_goes_through(server: Any, papers: Path) -> None:
    broker = connect(server, tls(papers))
    queue = Queue("tls-big")
    broker.declare([queue])
    body = bytes(range(256)) * 40_000
    broker.publish([Message(body, queue.name)])
    assert broker.consumer([queue]).receive(1, 10)[0].body == body
    broker.delete([queue.name])
    broker.close()


@pytest.mark.parametrize("check", ["required", "CERT_REQUIRED"])
def test_how_strictly_is_a_word_as_well(server: Any, papers: Path, check: str) -> None:
    connect(server, tls(papers, cert_reqs=check)).close()


def test_no_check_is_a_choice(server: Any, papers: Path) -> None:
    connect(server, tls(papers, ca_certs=None, cert_reqs=ssl.CERT_NONE), host="127.0.0.1").close()


@pytest.mark.parametrize(
    ("changes", "host", "reason"),
    [
        ({"ca_certs": "other.crt"}, "localhost", "certificate verify failed.*ca_certs"),
        ({"ca_certs": None}, "localhost", "certificate verify failed.*ca_certs"),
        ({}, "127.0.0.1", "IP address mismatch.*server_hostname"),
        ({"server_hostname": "elsewhere.example"}, "localhost", "Hostname mismatch.*server_hostname"),
        ({"certfile": None, "keyfile": None}, "localhost", "cannot reach AMQP"),
        ({"certfile": "other.crt", "keyfile": "other.key"}, "localhost", "cannot reach AMQP"),
    ],
    ids=["foreign authority", "system authorities", "address for name", "wrong name", "no certificate", "foreign one"],
)
def test_what_is_wrong_is_said(server: Any, papers: Path, changes: dict[str, Any], host: str, reason: str) -> None:
    changes = {
        name: str(papers / value) if value and name != "server_hostname" else value for name, value in changes.items()
    }
    began = time.monotonic()
    with pytest.raises(OperationalError, match=reason) as caught:
        connect(server, tls(papers, **changes), host=host, password="sesame")
    assert time.monotonic() - began < 6
    assert "sesame" not in str(caught.value)


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"password": "sesame"}, "ACCESS_REFUSED.*user and the password"),
        ({"user": "nobody", "password": "sesame"}, "ACCESS_REFUSED.*user and the password"),
        ({"vhost": "missing"}, "vhost.*virtual host"),
    ],
)
def test_a_refused_login_says_which_part(server: Any, papers: Path, parts: dict[str, str], reason: str) -> None:
    with pytest.raises(OperationalError, match=reason) as caught:
        connect(server, tls(papers), **parts)
    assert "sesame" not in str(caught.value)
    plain = f"amqp://{parts.get('user', 'guest')}:{parts.get('password', 'guest')}@127.0.0.1:{server.port}"
    broker = AmqpBroker(URL.parse(f"{plain}/{parts.get('vhost', '/')}"))
    with pytest.raises(OperationalError, match=reason) as caught:
        broker.connect(timeout=5)
    assert "sesame" not in str(caught.value)


def test_plain_to_a_tls_port_and_tls_to_a_plain_one(server: Any, papers: Path) -> None:
    broker = AmqpBroker(URL.parse(f"amqp://guest:sesame@localhost:{server.tls_port}//"))
    began = time.monotonic()
    with pytest.raises(OperationalError, match=r"cannot reach AMQP.*port"):
        broker.connect(timeout=2)
    broker = AmqpBroker(URL.parse(f"amqps://guest:sesame@localhost:{server.port}//"), {"broker_use_ssl": tls(papers)})
    with pytest.raises(OperationalError, match="TLS"):
        broker.connect(timeout=2)
    assert time.monotonic() - began < 6


def test_a_misspelt_option_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"'ca_cert'.*ca_certs"):
        AmqpBroker(URL.parse("amqps://localhost"), {"broker_use_ssl": {"ca_cert": "/x"}})
    with pytest.raises(ConfigurationError, match="required"):
        AmqpBroker(URL.parse("amqps://localhost"), {"broker_use_ssl": {"cert_reqs": "sometimes"}})
