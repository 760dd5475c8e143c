"""Batches, refusals, lost connections and forgotten scripts."""

from __future__ import annotations

import hashlib
import select
import socket
import threading
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from umbel_client_redis import Address, Link, Lost, Script, run
from umbel_client_redis.wire import Wire
from umbel_kernel.errors import BackendError, ChannelError, OperationalError
from umbel_kernel.url import URL
from umbel_testkit.waiting import Stopwatch, eventually

DOUBLE = Script("return ARGV[1] * 2 -- for a test")


@pytest.fixture
def make(redis_url: str) -> Iterator[Callable[..., Link]]:
    made: list[Link] = []

    def new(url: str = redis_url, **options: Any) -> Link:
        options.setdefault("refusal", BackendError)
        link = Link(Address(URL.parse(url)), **options)
        made.append(link)
        return link

    yield new
    for link in made:
        link.close()


@pytest.fixture
def answering() -> Iterator[Callable[[bytes], str]]:
    """Starts a server that lets a client introduce itself, answers its batch with this, and is silent then."""
    listeners: list[socket.socket] = []
    peers: list[socket.socket] = []

    def serve(listener: socket.socket, said: bytes) -> None:
        try:
            peer, _ = listener.accept()
        except OSError:
            return
        peers.append(peer)
        while (heard := peer.recv(65536)) and b"ECHO" not in heard:
            peer.sendall(b"+OK\r\n" * heard.count(b"SETINFO"))
        peer.sendall(said)

    def start(said: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=serve, args=(listener, said), daemon=True).start()
        return f"redis://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for each in (*listeners, *peers):
        each.close()


def kill(link: Link, by: Link) -> None:
    """End a link from the server's side, and wait until it is there."""
    number = link.ask("CLIENT", "ID", timeout=5)
    assert by.ask("CLIENT", "KILL", "ID", number, timeout=5) == 1
    poller = select.poll()
    poller.register(link.fileno(), select.POLLIN)
    eventually(lambda: bool(poller.poll(0)), within=5, what="the end of the connection")


def test_a_batch_is_answered_in_order_and_a_refusal_stands_among_the_replies(make: Callable[..., Link]) -> None:
    link = make()
    replies = link.call([("ECHO", "a"), ("NOSUCH", "b"), ("ECHO", b"c")], 5)
    assert (replies[0], replies[2]) == (b"a", b"c")
    with pytest.raises(BackendError, match=r"Redis refuses: .*NOSUCH"):
        link.answer(replies[1])
    assert link.answer(replies[0]) == b"a"


@pytest.mark.parametrize("refusal", [BackendError, ChannelError])
def test_a_refusal_is_of_the_kind_that_was_asked_for(make: Callable[..., Link], refusal: type[Exception]) -> None:
    link = make(refusal=refusal)
    with pytest.raises(refusal, match="Redis refuses"):
        link.ask("NOSUCH", timeout=5)
    assert link.ask("PING", timeout=5) == b"PONG"


def test_a_batch_of_hundreds(make: Callable[..., Link]) -> None:
    assert make().call([("ECHO", n) for n in range(300)], 5) == [str(n).encode() for n in range(300)]


def test_a_connection_that_was_closed_while_idle_is_opened_again(make: Callable[..., Link]) -> None:
    link, other = make(), make()
    kill(link, other)
    assert link.ask("PING", timeout=5) == b"PONG"


def test_a_kept_connection_stays_lost(make: Callable[..., Link]) -> None:
    link, other = make(kept=True), make()
    kill(link, other)
    for _ in range(2):
        with pytest.raises(Lost, match="lost"):
            link.ask("PING", timeout=5)
        assert not link.connected


def written(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)


def test_a_command_that_is_written_already_is_answered_by_its_number(make: Callable[..., Link]) -> None:
    link, key = make(), f"link-{uuid.uuid4().hex}"
    for number in range(1, 4):
        assert link.number(("LPUSH", key), written(b"LPUSH", key.encode(), b"x" * 10_000), 5) == number
    refusal = link.number(("INCR", key), written(b"INCR", key.encode()), 5)
    with pytest.raises(BackendError, match="WRONGTYPE"):
        link.answer(refusal)
    assert link.number(("DEL", key), written(b"DEL", key.encode()), 5) == 1


def test_a_number_is_asked_for_on_a_new_connection_when_the_idle_one_was_closed(make: Callable[..., Link]) -> None:
    link, other = make(), make()
    kill(link, other)
    assert link.number(("EXISTS", "nothing"), written(b"EXISTS", b"nothing"), 5) == 0


def test_a_number_that_does_not_come_in_time(make: Callable[..., Link], answering: Callable[[bytes], str]) -> None:
    link = make(answering(b":1"))
    with Stopwatch() as watch, pytest.raises(Lost):
        link.number(("ECHO", "key"), written(b"ECHO", b"key"), 0.3)
    assert watch.seconds < 2
    assert not link.connected


def test_written_commands_are_answered_in_order_to_whoever_reads(make: Callable[..., Link]) -> None:
    link = make()
    for word in (b"a", b"b", b"c"):
        link.write(("ECHO",), written(b"ECHO", word), 5)
    assert link.read(5) == b"a"
    found: list[Any] = []

    def both() -> bool:
        found.extend(link.pushed())
        return len(found) == 2

    eventually(both, within=5, what="the replies")
    assert found == [b"b", b"c"]


def test_a_script_is_loaded_and_loaded_again_when_the_server_forgot_it(make: Callable[..., Link]) -> None:
    assert DOUBLE.sha == hashlib.sha1(DOUBLE.text.encode()).hexdigest()
    link = make(scripts=(DOUBLE,))
    link.connect(5)
    assert link.ask("SCRIPT", "EXISTS", DOUBLE.sha, timeout=5) == [1]
    link.ask("SCRIPT", "FLUSH", timeout=5)
    assert link.call([("ECHO", "a"), run(DOUBLE, (), 21), ("ECHO", "b"), run(DOUBLE, (), 4)], 5) == [b"a", 42, b"b", 8]


def test_a_script_that_is_not_the_links_own_is_refused(make: Callable[..., Link]) -> None:
    stranger = Script(f"return 1 -- {uuid.uuid4()}")
    with pytest.raises(BackendError, match=r"Redis refuses: .*script"):
        make(scripts=(DOUBLE,)).ask(*run(stranger, ()), timeout=5)


def test_a_script_that_cannot_be_loaded_is_no_connection(make: Callable[..., Link]) -> None:
    link = make(scripts=(Script("this is no Lua"),))
    with pytest.raises(OperationalError, match="refuses the connection"):
        link.connect(5)
    assert not link.connected


def test_what_is_pushed_is_read(make: Callable[..., Link]) -> None:
    link, other = make(), make()
    channel = str(uuid.uuid4())
    link.send("SUBSCRIBE", channel, timeout=5)
    assert link.read(5) == [b"subscribe", channel.encode(), 1]
    assert not link.readable()
    other.ask("PUBLISH", channel, "x", timeout=5)
    poller = select.poll()
    poller.register(link.fileno(), select.POLLIN)
    assert poller.poll(5000)
    assert link.readable()
    assert link.read(5) == [b"message", channel.encode(), b"x"]
    with pytest.raises(Lost):
        link.read(0.05)
    assert link.fileno() == -1


def test_a_silent_server_ends_a_call_in_time(answering: Callable[[bytes], str], make: Callable[..., Link]) -> None:
    link = make(answering(b""))
    with Stopwatch() as waited, pytest.raises(Lost):
        link.ask("ECHO", "a", timeout=0.3)
    assert 0.2 < waited.seconds < 3
    assert not link.connected


def test_a_lost_batch_has_the_replies_that_came(answering: Callable[[bytes], str], make: Callable[..., Link]) -> None:
    link = make(answering(b"$1\r\na\r\n-ERR no\r\n"))
    with pytest.raises(Lost) as caught:
        link.call([("ECHO", "a"), ("NOSUCH",), ("ECHO", "c")], 0.5)
    assert [str(reply) for reply in caught.value.replies] == ["b'a'", "no"]


@pytest.mark.parametrize("open", [False, True], ids=["nobody there", "refused"])
def test_errors_of_connecting_keep_the_password(redis_url: str, make: Callable[..., Link], open: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = probe.getsockname()[1]
    parts = URL.parse(redis_url)
    where = f"{parts.host}:{parts.port or 6379}" if open else f"127.0.0.1:{free}"
    link = make(f"redis://nobody:seecret@{where}/0")
    with pytest.raises(OperationalError, match="refuses the connection" if open else "cannot reach") as caught:
        link.connect(5)
    assert where in str(caught.value)
    assert "seecret" not in str(caught.value)
    assert not link.connected


class Struck(BaseException):
    """What strikes in the middle, as a task's time limit does."""


@pytest.mark.parametrize("exchange", ["call", "number", "cast"])
def test_who_is_struck_between_question_and_answer_leaves_no_answer_behind(
    make: Callable[..., Link], monkeypatch: pytest.MonkeyPatch, exchange: str
) -> None:
    link = make()
    assert link.ask("ECHO", b"first", timeout=5) == b"first"

    def strike(*_: object) -> None:
        raise Struck

    with monkeypatch.context() as patched:
        if exchange == "cast":
            patched.setattr(Wire, "within", strike)
        patched.setattr(Wire, "replies" if exchange == "call" else "read", strike)
        with pytest.raises(Struck):
            if exchange == "call":
                link.ask("ECHO", b"of the first", timeout=5)
            elif exchange == "number":
                link.number(("INCR", "x"), b"*2\r\n$4\r\nECHO\r\n$12\r\nof the first\r\n", 5)
            else:
                link.cast([("ECHO", b"of the first")], 5)
    assert not link.connected
    assert link.ask("ECHO", b"second", timeout=5) == b"second"
