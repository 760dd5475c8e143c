"""Servers that are none, refuse, forget idle connections, or are full: what is said, and that it passes."""

from __future__ import annotations

import http.server
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from umbel_broker_redis import RedisBroker
from umbel_kernel.errors import ConfigurationError, OperationalError, PublishError
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Binding, Exchange, Queue
from umbel_kernel.url import URL
from umbel_testkit.broker import BrokerConformance
from umbel_testkit.waiting import eventually

TASKS = Queue("tasks")
SECRET = "seecret"


def refusal(url: str) -> str:
    """What is said of a server that cannot be used, the same on every way to it."""
    broker = RedisBroker(URL.parse(url))
    with pytest.raises(OperationalError) as first:
        broker.connect(timeout=2)
    with pytest.raises(PublishError) as second:
        broker.publish([Message(b"x", "tasks")], timeout=2)
    with pytest.raises(OperationalError) as third:
        broker.consumer([TASKS]).receive(1, 1)
    broker.close()
    said = [str(each.value) for each in (first, second, third)]
    assert SECRET not in "".join(said)
    assert len(second.value.failed) == 1
    return said[0]


@pytest.fixture
def web() -> Iterator[str]:
    """Host and port of a server of another kind."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    server.RequestHandlerClass.log_message = lambda *said: None  # type: ignore[method-assign]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def babbling() -> Iterator[Callable[[bytes], str]]:
    """Starts a server that says this to everybody, and gives host and port."""
    listeners: list[socket.socket] = []

    def serve(listener: socket.socket, said: bytes) -> None:
        while True:
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            peer.sendall(said)
            threading.Timer(0.5, peer.close).start()

    def start(said: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=serve, args=(listener, said), daemon=True).start()
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for each in listeners:
        each.close()


def test_a_web_server(web: str) -> None:
    said = refusal(f"redis://me:{SECRET}@{web}/0")
    assert "what answers there is no Redis server" in said


def test_another_broker(amqp_url: str) -> None:
    parts = URL.parse(amqp_url)
    assert "what answers there is no Redis server" in refusal(f"redis://{parts.host}:{parts.port}/0")


@pytest.mark.parametrize(
    "said",
    [
        b"\x00\xff\xfe" * 50,
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"220 mail.example.org ESMTP\r\n",
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"$99999999999999999999\r\n",
        b"*-7\r\n:x\r\n",
        b"+OK\r\n" * 1000,
        b":1\r\n" * 100,
        b"*1000000\r\n" * 20,
        b"-\xff\xff broken\r\n" * 100,
        b"-MOVED\r\n" * 100,
        b"$-1\r\n" * 100,
        b"*-1\r\n" * 100,
        b"%1\r\n+a\r\n+b\r\n" * 100,
        b"",
        *(random.Random(seed).randbytes(200) for seed in range(5)),
    ],
)
def test_whatever_is_said_is_no_foreign_exception(babbling: Callable[[bytes], str], said: bytes) -> None:
    """Some of it would be an answer of Redis, so that connecting may succeed."""
    broker = RedisBroker(URL.parse(f"redis://me:{SECRET}@{babbling(said)}/1"), {"socket_timeout": 1})
    before = time.monotonic()
    for work in (
        lambda: broker.connect(timeout=1),
        lambda: broker.publish([Message(b"x", "tasks")], timeout=1),
        lambda: broker.consumer([TASKS]).receive(1, 0.1),
    ):
        try:
            work()
        except Exception as error:
            assert type(error).__module__ == "umbel_kernel.errors" or isinstance(error, OperationalError), repr(error)
            assert SECRET not in str(error)
    broker.close()
    assert time.monotonic() - before < 8


def test_passwords(start_redis: Callable[..., Any]) -> None:
    server = start_redis("--requirepass", "right")
    said = refusal(f"redis://:{SECRET}@{server.place}/0")
    assert f"redis://:**@{server.place}/0 refuses the connection" in said
    assert "check the password of user 'default'" in said
    assert "check the password of user 'somebody'" in refusal(f"redis://somebody:{SECRET}@{server.place}")
    assert "check the password of user 'default'" in refusal(server.url)
    RedisBroker(URL.parse(f"redis://:right@{server.place}")).connect(timeout=2)


def test_databases(redis_server: Any) -> None:
    said = refusal(f"redis://{redis_server.place}/16")
    assert "DB index is out of range: there is no database 16" in said
    with pytest.raises(ConfigurationError, match="in Redis it is a number"):
        RedisBroker(URL.parse(f"redis://{redis_server.place}/tasks"))


def test_too_many_clients(start_redis: Callable[..., Any]) -> None:
    server = start_redis("--maxclients", "3")
    taken = [redis.Redis(port=server.port, single_connection_client=True) for _ in range(3)]
    eventually(lambda: len(taken[0].client_list()) == 3, within=5, what="three connections")
    said = refusal(server.url)
    assert "max number of clients" in said or "reset" in said
    taken.pop().close()
    taken.pop().close()
    broker = RedisBroker(URL.parse(server.url))

    def publish() -> bool:
        try:
            broker.publish([Message(b"x", "tasks")])
        except OperationalError:
            return False
        return True

    eventually(publish, within=5, what="a place")
    broker.close()


def test_a_server_that_is_still_loading(start_redis: Callable[..., Any]) -> None:
    server = start_redis()
    direct = redis.Redis(port=server.port)
    direct.mset({f"key{n}": "x" * 1000 for n in range(3000)})
    broker = RedisBroker(URL.parse(server.url))
    broker.publish([Message(b"before", "tasks")])
    direct.save()
    server.stop()
    server.options += ["--key-load-delay", "500", "--loading-process-events-interval-bytes", "1024"]
    server.start(wait=False)
    seen: set[str] = set()

    def publish() -> bool:
        try:
            broker.publish([Message(b"after", "tasks")], timeout=1)
        except PublishError as error:
            seen.add(str(error))
            return False
        return True

    eventually(publish, within=20, what="the end of loading")
    assert any("it is starting and will answer when it has read its data" in said for said in seen), seen
    assert [d.body for d in broker.consumer([TASKS]).receive(9, 2)] == [b"before", b"after"]
    broker.close()


def test_a_full_server_takes_nothing_and_gives_what_it_has(redis_server: Any) -> None:
    direct = redis.Redis(port=redis_server.port)
    broker = RedisBroker(URL.parse(redis_server.url))
    broker.publish([Message(b"%d" % n, "tasks") for n in range(10)])
    consumer = broker.consumer([TASKS])
    first = consumer.receive(2, 2)
    direct.config_set("maxmemory", 1)
    message = Message(b"x", "tasks")
    for send in (broker.publish, broker.post):
        with pytest.raises(PublishError, match=r"its memory is full \(maxmemory\)") as caught:
            send([message])
            broker.flush(timeout=2)
        assert list(caught.value.failed) == [message]
    consumer.ack(first)
    taken = consumer.receive(5, 2)
    assert [d.body for d in taken] == [b"2", b"3", b"4", b"5", b"6"]
    consumer.ack(taken)
    second = broker.consumer([TASKS])
    assert len(second.receive(9, 2)) == 3
    direct.config_set("maxmemory", 0)
    broker.publish([message])
    assert broker.size(["tasks"]) == {"tasks": 1}
    broker.close()
    assert direct.llen("tasks") == 4
    assert direct.keys("umbel.*") == []


def test_a_server_that_cannot_save_says_so(start_redis: Callable[..., Any]) -> None:
    server = start_redis("--save", "1 1", "--dir", "/proc")
    direct = redis.Redis(port=server.port)
    direct.set("a", 1)
    broker = RedisBroker(URL.parse(server.url))

    def refused() -> str:
        try:
            broker.publish([Message(b"x", "tasks")])
        except PublishError as error:
            return str(error)
        return ""

    eventually(lambda: "it cannot save to its disk" in refused(), within=15, what="a refusal")
    direct.config_set("stop-writes-on-bgsave-error", "no")
    assert refused() == ""
    broker.close()


def test_replicas_that_are_missing_are_said(start_redis: Callable[..., Any]) -> None:
    server = start_redis("--min-replicas-to-write", "1")
    broker = RedisBroker(URL.parse(server.url))
    with pytest.raises(PublishError, match="too few replicas are connected"):
        broker.publish([Message(b"x", "tasks")])
    broker.close()


@pytest.mark.parametrize("told", [True, False], ids=["tracking", "no tracking"])
def test_a_server_that_drops_idle_connections(start_redis: Callable[..., Any], told: bool) -> None:
    """A second of silence is too much for it. Nobody notices: not who waits, not who is full, not who seldom sends."""
    server = start_redis("--timeout", "1", *(() if told else ("--rename-command", "CLIENT", "")))
    broker = RedisBroker(URL.parse(server.url))
    consumer = broker.consumer([TASKS])
    broker.publish([Message(b"1", "tasks")])
    first = consumer.receive(1, 2)
    assert consumer.receive(0, 4.0) == []
    assert consumer.receive(1, 3.0) == []
    broker.publish([Message(b"2", "tasks")])
    second = consumer.receive(1, 2)
    assert [d.body for d in (*first, *second)] == [b"1", b"2"]
    consumer.ack([*first, *second])
    broker.close()


@pytest.mark.parametrize("refused", [("CLIENT", ""), ("CLIENT", "hidden"), ("SUBSCRIBE", "")])
def test_without_tracking_queues_are_looked_at(start_redis: Callable[..., Any], refused: tuple[str, str]) -> None:
    server = start_redis("--rename-command", *refused)
    broker = RedisBroker(URL.parse(server.url))
    ear = Queue("ear", (Binding(Exchange("all", "fanout")),), auto_delete=True)
    broker.declare([ear])
    consumer, listener = broker.consumer([TASKS]), broker.consumer([ear])
    assert consumer.receive(1, 0.2) == []
    woken: list[Any] = []
    waits = threading.Thread(target=lambda: woken.extend(consumer.receive(1, 5)))
    waits.start()
    time.sleep(0.1)
    before = time.monotonic()
    broker.publish([Message(b"x", "tasks"), Message(b"all", "", "all")])
    waits.join()
    assert time.monotonic() - before < 1
    assert [d.body for d in (*woken, *listener.receive(1, 2))] == [b"x", b"all"]
    before = time.process_time()
    assert consumer.receive(1, 1.0) == []
    assert time.process_time() - before < 0.2, "looking twenty times a second costs little"
    broker.close()


def test_a_frozen_server_is_noticed(redis_server: Any) -> None:
    broker = RedisBroker(URL.parse(redis_server.url), {"socket_timeout": 0.5, "health_check_interval": 0.5})
    consumer = broker.consumer([TASKS])
    broker.connect(timeout=1)
    redis_server.process.send_signal(signal.SIGSTOP)
    try:
        before = time.monotonic()
        with pytest.raises(OperationalError):
            consumer.receive(1, 10)
        with pytest.raises(PublishError):
            broker.publish([Message(b"x", "tasks")], timeout=0.5)
        assert time.monotonic() - before < 5
    finally:
        redis_server.process.send_signal(signal.SIGCONT)
    broker.publish([Message(b"x", "tasks")])
    broker.close()


@pytest.mark.slow
class TestWithoutClient(BrokerConformance):
    """The whole contract on a server without CLIENT that drops idle connections."""

    urgent_priority = 0
    idle_priority = 9
    short_lease_options = {"lease": 1.0}

    @pytest.fixture
    def make_broker(self, start_redis: Callable[..., Any]) -> Any:
        url = URL.parse(start_redis("--rename-command", "CLIENT", "", "--timeout", "1").url)
        return lambda **options: RedisBroker(url, options)

    @pytest.fixture
    def make_unreachable(self) -> Any:
        return lambda: RedisBroker(URL.parse("redis://user:seecret@127.0.0.1:1/0"))
