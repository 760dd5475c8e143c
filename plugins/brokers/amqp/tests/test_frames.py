"""What a server sends, byte by byte: whole, in pieces, several at once, and garbage."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from struct import pack
from typing import Any

import pytest
from amqp.serialization import dumps

from umbel_broker_amqp import AmqpBroker
from umbel_broker_amqp.address import Address
from umbel_broker_amqp.content import pack as pack_message
from umbel_broker_amqp.content import unpack
from umbel_broker_amqp.session import Session
from umbel_kernel.errors import ChannelError, OperationalError
from umbel_kernel.spi.message import Message
from umbel_kernel.spi.topology import Queue
from umbel_kernel.url import URL

FRAME_MAX = 4096


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def method(channel: int, klass: int, number: int, form: str = "", *values: Any) -> bytes:
    return frame(1, channel, pack(">HH", klass, number) + dumps(form, values))


def deliver(tag: int, body: bytes, consumer: str = "c", key: str = "key") -> bytes:
    """The frames of a ``basic.deliver``."""
    header = pack(">HHQH", 60, 0, len(body), 0x8000) + b"\x0atext/plain"
    parts = [body[start : start + FRAME_MAX - 8] for start in range(0, len(body), FRAME_MAX - 8)]
    return (
        method(1, 60, 60, "sLbss", consumer, tag, False, "exchange", key)
        + frame(2, 1, header)
        + b"".join(frame(3, 1, part) for part in parts)
    )


class Server:
    """An AMQP server that knows how to open a connection and then does as it is told.

    Attributes:
        sent: what clients have sent after their connection was open.
    """

    def __init__(self, heartbeat: int = 0) -> None:
        self._heartbeat = heartbeat
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.sockets: list[socket.socket] = []
        self.sent = b""
        self.opened = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self) -> URL:
        return URL.parse(f"amqp://me:sesame@127.0.0.1:{self.port}//")

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock = self._listening.accept()[0]
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.sockets.append(sock)
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError, AssertionError):
            assert sock.recv(8) == b"AMQP\x00\x00\x09\x01"
            capabilities = {"connection.blocked": True, "consumer_cancel_notify": True}
            sock.sendall(method(0, 10, 10, "ooFSS", 0, 9, {"capabilities": capabilities}, "PLAIN", "en_US"))
            sock.recv(65536)
            sock.sendall(method(0, 10, 30, "BlB", 2047, FRAME_MAX, self._heartbeat))
            sock.recv(65536)
            sock.sendall(method(0, 10, 41, "s", ""))
            sock.recv(65536)
            sock.sendall(method(1, 20, 11, "S", ""))
            self.opened.set()
            while data := sock.recv(65536):
                self.sent += data

    def send(self, data: bytes) -> None:
        self.sockets[-1].sendall(data)

    def close(self) -> None:
        self._listening.close()
        for sock in self.sockets:
            sock.close()


@pytest.fixture
def server() -> Iterator[Server]:
    made = Server()
    yield made
    made.close()


class Client:
    """A session with a server, and what it has heard."""

    def __init__(self, server: Server, **options: Any) -> None:
        self.contents: list[tuple[bytes, bytes, bytes]] = []
        self.settled: list[tuple[int, bool, bool]] = []
        self.returned: list[bytes] = []
        self.session = Session(
            Address(server.url(), options),
            timeout=2.0,
            on_content=lambda *content: self.contents.append(content),
            on_settled=lambda *settled: self.settled.append(settled),
            on_returned=lambda method, header, body: self.returned.append(body),
        )
        assert server.opened.wait(2)

    def bodies(self) -> list[bytes]:
        return [body for _, _, body in self.contents]

    def hear(self, done: Callable[[], Any], seconds: float = 5.0) -> None:
        """Read until something is true."""
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, (self.bodies(), self.settled)
            if self.session.wait(0.05):
                self.session.read()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    made = Client(server)
    yield made
    made.session.abandon()


START = method(1, 60, 60, "sLbss", "c", 1, False, "", "k")
STREAM = (
    deliver(1, b"first")
    + frame(8, 0, b"")
    + deliver(2, b"")
    + method(1, 60, 80, "Lb", 7, True)
    + deliver(3, b"x" * 5)
    + method(1, 60, 120, "Lbb", 8, False, False)
)
HEARD = ([b"first", b"", b"xxxxx"], [(7, True, True), (8, False, False)])


def test_a_stream_split_at_every_byte(client: Client) -> None:
    for cut in range(len(STREAM) + 1):
        client.contents.clear()
        client.settled.clear()
        for part in (STREAM[:cut], STREAM[cut:]):
            if part:
                client.session._took(part)
        assert (client.bodies(), client.settled) == HEARD, f"cut at byte {cut}"


def test_a_stream_that_comes_byte_by_byte(client: Client) -> None:
    for place in range(len(STREAM)):
        client.session._took(STREAM[place : place + 1])
    assert (client.bodies(), client.settled) == HEARD


def test_many_messages_in_one_read(server: Server, client: Client) -> None:
    server.send(b"".join(deliver(tag, b"%d" % tag) for tag in range(1, 1001)))
    client.hear(lambda: len(client.contents) == 1000)
    assert client.bodies() == [b"%d" % tag for tag in range(1, 1001)]


@pytest.mark.parametrize("size", [0, 1, FRAME_MAX - 9, FRAME_MAX - 8, FRAME_MAX - 7, FRAME_MAX, 3 * FRAME_MAX, 10**6])
def test_bodies_of_every_size_are_put_together(server: Server, client: Client, size: int) -> None:
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    server.send(deliver(1, body) + deliver(2, b"next"))
    client.hear(lambda: len(client.contents) == 2)
    assert client.bodies() == [body, b"next"]


@pytest.mark.parametrize("size", [0, 1, FRAME_MAX - 9, FRAME_MAX - 8, FRAME_MAX - 7, FRAME_MAX, 10**6])
def test_no_frame_is_written_that_is_larger_than_agreed(size: int) -> None:
    written = pack_message(Message(b"b" * size, "key"), 1, FRAME_MAX)
    kinds, total, at = [], 0, 0
    while at < len(written):
        kind, length = written[at], int.from_bytes(written[at + 3 : at + 7], "big")
        assert length + 8 <= FRAME_MAX
        assert written[at + 7 + length] == 0xCE
        kinds.append(kind)
        total += length if kind == 3 else 0
        at += length + 8
    assert kinds[:2] == [1, 2]
    assert set(kinds[2:]) <= {3}
    assert total == size
    assert len(kinds) - 2 == -(-size // (FRAME_MAX - 8))


GARBAGE = {
    "text of another protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200,
    "zeros": bytes(100),
    "a wrong frame end": deliver(1, b"body")[:-1] + b"\xcd" + bytes(20),
    "a frame of 4 GB": pack(">BHI", 3, 1, 2**32 - 1) + bytes(100),
    "a frame larger than agreed": pack(">BHI", 1, 1, FRAME_MAX) + bytes(100),
    "an unknown kind of frame": frame(5, 1, b"what"),
    "an unknown method": method(1, 60, 199),
    "an unknown class": method(1, 999, 10),
    "a method of a channel that is not open": method(9, 60, 11),
    "a method without a number": frame(1, 1, b"\x00"),
    "a delivery cut short": frame(1, 1, pack(">HH", 60, 60)) + frame(2, 1, pack(">HHQH", 60, 0, 0, 0)),
    "a confirm cut short": frame(1, 1, pack(">HH", 60, 80)),
    "a header without a delivery": frame(2, 1, pack(">HHQH", 60, 0, 4, 0)),
    "a header cut short": method(1, 60, 60, "sLbss", "c", 1, False, "", "k")
    + frame(2, 1, b"\0\x3c")
    + frame(3, 1, b"x"),
    "a body without a header": frame(3, 1, b"body"),
    "two headers": deliver(1, b"ab")[: -len(frame(3, 1, b"ab"))] + frame(2, 1, pack(">HHQH", 60, 0, 4, 0)),
    "two deliveries": START * 2 + frame(2, 1, pack(">HHQH", 60, 0, 0, 0)),
    "a method in the middle of a message": deliver(1, b"ab")[: -len(frame(3, 1, b"ab"))] + deliver(2, b"c"),
    "a body longer than announced": deliver(1, b"ab")[: -len(frame(3, 1, b"ab"))] + frame(3, 1, b"abc"),
    "a body of 2**63 bytes": START + frame(2, 1, pack(">HHQH", 60, 0, 2**63, 0)),
}


@pytest.mark.parametrize("what", GARBAGE)
def test_garbage_ends_the_connection_with_a_reason(server: Server, what: str) -> None:
    made = Client(server)
    made.session._inbound._on_content = _unpack
    tracemalloc.start()
    try:
        server.send(GARBAGE[what])
        began = time.monotonic()
        with pytest.raises(OperationalError) as caught:
            while time.monotonic() - began < 5:
                if made.session.wait(0.2):
                    made.session.read()
        assert time.monotonic() - began < 2
        assert len(str(caught.value)) > 40
        assert "sesame" not in str(caught.value)
        assert not made.session.alive
        assert tracemalloc.get_traced_memory()[1] < 8_000_000
    finally:
        tracemalloc.stop()


def _unpack(method: bytes, header: bytes, body: bytes) -> None:
    """What a consumer makes of a content, within a session's reading."""
    unpack(method, header, body, {})


@pytest.mark.parametrize("what", ["text of another protocol", "a frame of 4 GB", "zeros", "an unknown method"])
def test_garbage_instead_of_an_answer(server: Server, what: str) -> None:
    client = Client(server)
    threading.Timer(0.1, server.send, [GARBAGE[what]]).start()
    began = time.monotonic()
    with pytest.raises(OperationalError), client.session.errors():
        client.session.channel.basic_qos(0, 1, False)
    assert time.monotonic() - began < 3


def test_an_answer_that_never_comes_ends_in_time_although_the_server_lives(server: Server) -> None:
    client = Client(server)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.05):
            server.send(frame(8, 0, b""))

    threading.Thread(target=beat, daemon=True).start()
    began = time.monotonic()
    try:
        client.session.within(0.5)
        with pytest.raises(OperationalError, match="in time"), client.session.errors():
            client.session.channel.basic_qos(0, 1, False)
    finally:
        stop.set()
    assert time.monotonic() - began < 1.5


@pytest.mark.parametrize(
    "answer",
    [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"AMQP\x03\x01\x00\x00", b"\x15\x03\x01\x00\x02\x02\x46", bytes(4096)],
)
def test_a_server_of_another_kind_is_told_in_time(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    sock = listening.accept()[0]
                    sock.sendall(answer)
                    sock.shutdown(socket.SHUT_WR)

        threading.Thread(target=serve, daemon=True).start()
        broker = AmqpBroker(URL.parse(f"amqp://me:sesame@127.0.0.1:{listening.getsockname()[1]}//"))
        began = time.monotonic()
        with pytest.raises(OperationalError, match="cannot reach AMQP") as caught:
            broker.connect(timeout=1.0)
        assert time.monotonic() - began < 2.5
        assert "sesame" not in str(caught.value)


def test_the_server_closes_the_channel_with_its_reason(server: Server, client: Client) -> None:
    server.send(method(1, 20, 40, "BsBB", 406, "PRECONDITION_FAILED - unknown delivery tag 7", 60, 80))
    with pytest.raises(ChannelError, match="unknown delivery tag 7"):
        client.hear(lambda: False)


def test_the_server_closes_the_connection_with_its_reason(server: Server, client: Client) -> None:
    server.send(method(0, 10, 50, "BsBB", 320, "CONNECTION_FORCED - broker forced connection closure", 0, 0))
    with pytest.raises(OperationalError, match="broker forced connection closure"):
        client.hear(lambda: False)
    assert not client.session.alive


def test_the_server_says_that_it_takes_no_messages(server: Server, client: Client) -> None:
    server.send(method(0, 10, 60, "s", "low on memory"))
    client.hear(lambda: client.session.blocked)
    assert client.session.blocked == "low on memory"
    server.send(method(0, 10, 61))
    client.hear(lambda: not client.session.blocked)


def test_what_no_queue_took_comes_back(server: Server, client: Client) -> None:
    header = pack(">HHQH", 60, 0, 4, 0)
    server.send(method(1, 60, 50, "Bsss", 312, "NO_ROUTE", "", "nowhere") + frame(2, 1, header) + frame(3, 1, b"back"))
    server.send(deliver(1, b"next"))
    client.hear(lambda: client.contents)
    assert (client.returned, client.bodies()) == ([b"back"], [b"next"])


def test_a_deleted_queue_is_told(server: Server, client: Client) -> None:
    server.send(method(1, 60, 30, "sb", "consumer-1", True))
    client.hear(lambda: client.session.cancelled)
    assert client.session.cancelled == ["consumer-1"]


@pytest.mark.parametrize("silent_after", [True, False])
def test_heartbeats_go_out_and_a_silent_server_is_noticed(silent_after: bool) -> None:
    server = Server(heartbeat=1)
    client = Client(server, broker_heartbeat=1)
    stop = threading.Event()

    def beat() -> None:
        while not stop.wait(0.3):
            server.send(frame(8, 0, b""))

    if not silent_after:
        threading.Thread(target=beat, daemon=True).start()
    began = time.monotonic()
    try:
        if silent_after:
            with pytest.raises(OperationalError, match="silent for"):
                client.hear(lambda: False, 10)
            assert 1.5 < time.monotonic() - began < 4
        else:
            time.sleep(3)
            assert client.session.alive
            assert server.sent.count(frame(8, 0, b"")) >= 4
    finally:
        stop.set()
        client.session.abandon()
        server.close()


def test_a_connection_that_only_sends_is_kept_alive_without_being_used() -> None:
    server = Server(heartbeat=1)
    session = Session(Address(server.url(), {"broker_heartbeat": 1}), timeout=2.0)
    try:
        end = time.monotonic() + 5
        while server.sent.count(frame(8, 0, b"")) < 3:
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        session.abandon()
        server.close()


def test_a_50_mb_body_goes_through(broker: AmqpBroker, queue: Queue) -> None:
    body = bytes(range(256)) * (50 * 4096)
    broker.publish([Message(body, queue.name)], timeout=30)
    consumer = broker.consumer([queue])
    found = consumer.receive(1, 30)
    assert found and found[0].body == body
    consumer.ack(found)
