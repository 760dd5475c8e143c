"""A proxy between a broker and the server, a broker that goes through it, and a queue."""

from __future__ import annotations

import socket
import threading
import uuid
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from umbel_broker_amqp import AmqpBroker
from umbel_kernel.spi.topology import Queue
from umbel_kernel.url import URL


class Proxy:
    """Stands between a broker and the server, and cuts or freezes what goes through."""

    def __init__(self, host: str, port: int) -> None:
        self._to = (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._sockets: list[socket.socket] = []
        self.frozen = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for each in self._sockets:
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue
        self._sockets.clear()

    def close(self) -> None:
        self._listening.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                inner = self._listening.accept()[0]
            except OSError:
                return
            outer = socket.create_connection(self._to)
            self._sockets += [inner, outer]
            for source, target in ((inner, outer), (outer, inner)):
                threading.Thread(target=self._pump, args=(source, target), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                if self.frozen.is_set():
                    continue
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)
        except OSError:
            return


@pytest.fixture
def proxy(amqp_url: str) -> Iterator[Proxy]:
    parts = urlsplit(amqp_url)
    found = Proxy(parts.hostname or "127.0.0.1", parts.port or 5672)
    yield found
    found.close()


@pytest.fixture
def broker(proxy: Proxy) -> Iterator[AmqpBroker]:
    found = AmqpBroker(URL.parse(f"amqp://guest:guest@127.0.0.1:{proxy.port}//"), {"read_timeout": 1.0})
    found.connect(timeout=5)
    yield found
    found.close()


@pytest.fixture
def queue(amqp_url: str) -> Iterator[Queue]:
    direct = AmqpBroker(URL.parse(amqp_url))
    found = Queue(f"faults-{uuid.uuid4().hex}")
    direct.declare([found])
    yield found
    direct.delete([found.name])
    direct.close()
