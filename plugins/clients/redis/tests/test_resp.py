"""Bytes of Redis' protocol, with hiredis and without."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel_client_redis import Address, Link
from umbel_client_redis.errors import Disconnected, Garbled, Loading, LoginRefused, NoScript, RedisError, ReplyError
from umbel_client_redis.errors import from_reply as error_of
from umbel_client_redis.resp import MORE, PlainReader, _plain_pack, reader
from umbel_kernel.errors import ChannelError
from umbel_kernel.url import URL

REPLIES = st.recursive(
    st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.binary(max_size=40)),
    lambda inner: st.lists(inner, max_size=4),
    max_leaves=12,
)


def written(reply: Any) -> bytes:
    if reply is None:
        return b"$-1\r\n"
    if isinstance(reply, int):
        return b":%d\r\n" % reply
    if isinstance(reply, bytes):
        return b"$%d\r\n%b\r\n" % (len(reply), reply)
    return b"*%d\r\n" % len(reply) + b"".join(map(written, reply))


def cut(stream: bytes, cuts: list[int]) -> list[bytes]:
    parts, at = [], 0
    for size in cuts:
        parts.append(stream[at : at + size])
        at += size
    return [*parts, stream[at:]]


@pytest.mark.parametrize("make", [PlainReader, reader])
@given(replies=st.lists(REPLIES, max_size=5), cuts=st.lists(st.integers(1, 30), max_size=30))
def test_replies_come_out_whole_however_the_stream_is_cut(
    make: Callable[[], Any], replies: list[Any], cuts: list[int]
) -> None:
    found, mine = [], make()
    for part in cut(b"".join(map(written, replies)), cuts):
        mine.feed(b"--" + part + b"--", 2, len(part))
        while (reply := mine.gets()) is not MORE:
            found.append(reply)
    assert found == replies
    assert not mine.has_data()


@given(st.lists(st.one_of(st.binary(max_size=30), st.text(max_size=30), st.integers(), st.floats(allow_nan=False))))
def test_commands_are_written_as_hiredis_writes_them(words: list[Any]) -> None:
    command = ("COMMAND", *words)
    assert _plain_pack(command) == hiredis.pack_command(command)


@pytest.mark.parametrize("make", [PlainReader, reader])
@pytest.mark.parametrize(
    ("line", "kind", "text", "code"),
    [
        (b"-ERR unknown command 'X'", ReplyError, "unknown command 'X'", ""),
        (b"-OOM command not allowed", ReplyError, "command not allowed", "OOM"),
        (b"-MISCONF Redis is configured", ReplyError, "MISCONF Redis is configured", ""),
        (b"-NOSCRIPT No matching script", NoScript, "No matching script", "NOSCRIPT"),
        (b"-LOADING Redis is loading", Loading, "Redis is loading", "LOADING"),
        (b"-NOAUTH Authentication required.", LoginRefused, "Authentication required.", "NOAUTH"),
        (b"-WRONGPASS invalid username", LoginRefused, "invalid username", "WRONGPASS"),
        (
            b"-ERR Client sent AUTH, but no password is set",
            LoginRefused,
            "Client sent AUTH, but no password is set",
            "",
        ),
        (b"-ERR max number of clients reached", Disconnected, "max number of clients reached", ""),
        (b"-", ReplyError, "", ""),
        (b"-\xff\xfe", ReplyError, "\ufffd\ufffd", ""),
    ],
)
def test_errors_are_told_apart(
    make: Callable[[], Any], line: bytes, kind: type[RedisError], text: str, code: str
) -> None:
    mine = make()
    mine.feed(line + b"\r\n+OK\r\n")
    error = mine.gets()
    assert (type(error), str(error), error.code) == (kind, text, code)
    assert mine.gets() == b"OK"
    assert type(error_of(text)) in (ReplyError, kind)


@pytest.mark.parametrize("make", [PlainReader, reader])
@pytest.mark.parametrize("data", [b"HTTP/1.1 400 Bad Request\r\n", b"\x15\x03\x01\x00\x02\r\n", b":x\r\n", b"*z\r\n"])
def test_what_is_no_reply_is_said(make: Callable[[], Any], data: bytes) -> None:
    mine = make()
    with pytest.raises(Garbled):
        mine.feed(data)
        mine.gets()


def test_a_large_reply_that_comes_in_drops_is_read_in_time() -> None:
    mine, body = PlainReader(), b"x" * 8_000_000
    data = written([body, body])
    for at in range(0, len(data), 65536):
        mine.feed(data[at : at + 65536])
        reply = mine.gets()
    assert reply == [body, body]


def test_all_works_without_hiredis(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("umbel_client_redis.connection.reader", PlainReader)
    monkeypatch.setattr("umbel_client_redis.resp.pack_one", _plain_pack)
    link = Link(Address(URL.parse(redis_url)), refusal=ChannelError)
    try:
        assert link.call([("ECHO", "é"), ("NOSUCH",), ("ECHO", 5)], 5)[::2] == ["é".encode(), b"5"]
        link.send_all([("SUBSCRIBE", "umbel-test-resp"), ("PING",)], timeout=5)
        assert link.read(5) == [b"subscribe", b"umbel-test-resp", 1]
        assert link.read(5) == [b"pong", b""]
        assert link.pushed() == []
        assert not link.readable()
    finally:
        link.close()


def test_a_server_that_knows_no_users_is_given_the_password_alone() -> None:
    heard: list[bytes] = []

    def serve() -> None:
        peer, _ = listener.accept()
        with peer:
            heard.append(peer.recv(4096))
            peer.sendall(b"-ERR wrong number of arguments for 'auth' command\r\n+OK\r\n-NOAUTH no\r\n")
            heard.append(peer.recv(4096))
            peer.sendall(b"+OK\r\n+OK\r\n+OK\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        url = f"redis://me:secret@127.0.0.1:{listener.getsockname()[1]}/3"
        connection = Address(URL.parse(url), client_name="it").open(5)
        connection.disconnect()
        thread.join(5)
    assert heard[0].startswith(b"*3\r\n$4\r\nAUTH\r\n$2\r\nme\r\n$6\r\nsecret\r\n")
    assert heard[1].startswith(b"*2\r\n$4\r\nAUTH\r\n$6\r\nsecret\r\n")
    assert heard[1].endswith(b"SELECT\r\n$1\r\n3\r\n")


def test_a_worker_without_tls_imports_neither_redis_py_nor_tls() -> None:
    code = (
        "import sys, umbel.model; from umbel_kernel import plugins;"
        "plugins.load('brokers', 'redis'); plugins.load('backends', 'redis');"
        "print([name for name in ('redis', 'asyncio', 'ssl', 'importlib.metadata') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=30, check=True)
    assert done.stdout == "[]\n"
