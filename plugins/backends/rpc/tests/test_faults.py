"""Replies over AMQP when connections are cut, silent, idle or go to another server."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from umbel_backend_rpc import RpcBackend
from umbel_kernel.errors import OperationalError
from umbel_kernel.spi.backend import Record
from umbel_kernel.url import URL
from umbel_testkit.backend import json_state_of


class Proxy:
    """Stands before the server, and cuts or swallows what goes through."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"amqp://guest:guest@127.0.0.1:{self._listening.getsockname()[1]}//"
        self.sockets: list[socket.socket] = []
        self.swallows = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for each in self.sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self.sockets.clear()

    def close(self) -> None:
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                inner = self._listening.accept()[0]
                outer = socket.create_connection(self._to)
                self.sockets += [inner, outer]
                for source, target in ((inner, outer), (outer, inner)):
                    threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if not self.swallows.is_set():
                    target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def proxy(amqp_url: str) -> Iterator[Proxy]:
    parts = urlsplit(amqp_url)
    made = Proxy(parts.hostname or "127.0.0.1", parts.port or 5672)
    yield made
    made.close()


@pytest.fixture
def backends() -> Iterator[Callable[..., RpcBackend]]:
    """Makes backends, closed after the test."""
    made: list[RpcBackend] = []

    def make(url: Any, **options: Any) -> RpcBackend:
        made.append(RpcBackend(URL.parse("rpc://"), {"broker_url": url, **options}, state_of=json_state_of))
        return made[-1]

    yield make
    for each in made:
        each.close()


def record(reply_to: str | None) -> Record:
    return Record(str(uuid.uuid4()), "SUCCESS", b'{"status": "SUCCESS", "result": 3}', reply_to=reply_to)


def test_no_result_is_lost_with_a_sending_connection(amqp_url: str, proxy: Proxy, backends: Any) -> None:
    client, worker = backends(amqp_url), backends(proxy.url)
    client.expect(["x"])
    worker.store([record(client.reply_to)])
    sent = [record(client.reply_to) for _ in range(20)]
    proxy.swallows.set()
    began = time.monotonic()
    with pytest.raises(OperationalError):
        worker.store(sent, timeout=1.0)
    assert time.monotonic() - began < 3
    proxy.swallows.clear()
    proxy.cut()
    worker.store(sent, timeout=5.0)
    missing = {each.task_id for each in sent}
    end = time.monotonic() + 5
    while missing and time.monotonic() < end:
        missing -= set(client.wait(sorted(missing), timeout=1))
    assert not missing


def test_no_result_is_lost_with_a_reading_connection(amqp_url: str, proxy: Proxy, backends: Any) -> None:
    client, worker = backends(proxy.url), backends(amqp_url)
    client.expect(["x"])
    for swallowed in (True, False):
        sent = [record(client.reply_to) for _ in range(50)]
        if swallowed:
            proxy.swallows.set()
        worker.store(sent)
        time.sleep(0.3)
        proxy.swallows.clear()
        proxy.cut()
        missing = {each.task_id for each in sent}
        end = time.monotonic() + 10
        while missing and time.monotonic() < end:
            with contextlib.suppress(OperationalError):
                missing -= set(client.wait(sorted(missing), timeout=1))
        assert not missing


@pytest.mark.slow
def test_a_silent_server_is_noticed_by_the_reader(amqp_url: str, proxy: Proxy, backends: Any) -> None:
    client, worker = backends(proxy.url, broker_heartbeat=120.0), backends(amqp_url)
    client.expect(["x"])
    before = len(proxy.sockets)
    proxy.swallows.set()
    began = time.monotonic()
    sent = record(client.reply_to)
    worker.store([sent])
    while len(proxy.sockets) == before:
        assert time.monotonic() - began < 15, "nobody noticed"
        time.sleep(0.1)
    proxy.swallows.clear()
    proxy.cut()
    found: dict[str, Record] = {}
    while not found:
        assert time.monotonic() - began < 25, "the result is lost"
        with contextlib.suppress(OperationalError):
            found = client.wait([sent.task_id], timeout=1)


@pytest.mark.slow
def test_idle_connections_stay(amqp_url: str, proxy: Proxy, backends: Any) -> None:
    client, worker = backends(proxy.url, broker_heartbeat=2.0), backends(proxy.url, broker_heartbeat=2.0)
    client.expect(["x"])
    worker.store([record(client.reply_to)])
    before = list(proxy.sockets)
    end = time.monotonic() + 10
    while time.monotonic() < end:
        pass  # as a long task does
    sent = record(client.reply_to)
    worker.store([sent])
    assert client.wait([sent.task_id], timeout=5)
    assert proxy.sockets == before


@pytest.mark.parametrize("joined", [True, False])
def test_the_first_broker_that_answers_is_used(amqp_url: str, backends: Any, joined: bool) -> None:
    away = "amqp://user:sesame@127.0.0.1:1//"
    urls: Any = f"{away};{amqp_url}" if joined else [away, amqp_url]
    client, worker = backends(urls), backends(urls)
    client.expect(["x"])
    sent = record(client.reply_to)
    worker.store([sent])
    assert client.wait([sent.task_id], timeout=5)
    gone = backends([away, away])
    with pytest.raises(OperationalError, match=r"user:\*\*@127") as caught:
        gone.connect(timeout=2)
    assert "sesame" not in str(caught.value)
