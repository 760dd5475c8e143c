"""Counts the messages that come to a Redis server's lists, and their bytes, as the server reports each command."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from urllib.parse import urlsplit

import redis
from harness.failure import Failure

_ARGUMENT = re.compile(rb'"((?:[^"\\]|\\.)*)"')
_ESCAPED = re.compile(rb"\\(?:x..|.)")
_MESSAGE = rb"{\"body\""


class Tap:
    """Listens from its making until it is closed.

    A message is what is pushed to a list and begins as Celery's messages in Redis begin. What a worker moves within
    the server, such as to the hash of what it holds, has been counted when it came.
    """

    def __init__(self, url: str) -> None:
        place = urlsplit(url)
        self.sizes: list[int] = []
        self._marker = ""
        self._client = redis.Redis.from_url(url)
        self._socket = socket.create_connection((place.hostname, place.port))
        self._socket.sendall(b"MONITOR\r\n")
        self._lines = self._socket.makefile("rb")
        self._lines.readline()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        for line in self._lines:
            if b' "ECHO" ' in line[:80]:
                self._marker = line.split(b'"')[-2].decode()
            if b' "LPUSH" ' not in line[:80] or b" lua] " in line[:80]:
                continue
            for argument in _ARGUMENT.findall(line):
                if argument.startswith(_MESSAGE):
                    self.sizes.append(len(_ESCAPED.sub(b".", argument)))

    def all(self, timeout: float = 60.0) -> list[int]:
        """The sizes of all messages that have come until now."""
        marker = os.urandom(8).hex()
        self._client.echo(marker)
        end = time.monotonic() + timeout
        while self._marker != marker:
            if time.monotonic() > end:
                raise Failure(f"the server did not report its commands within {timeout:g} s")
            time.sleep(0.01)
        return list(self.sizes)

    def waiting(self, queue: str) -> list[int]:
        """The sizes of all messages, of which none was taken from the queue yet, once no more come."""
        known = -1
        while known != (now := self._client.llen(queue)):
            known = now
            time.sleep(0.2)
        sizes = self.all()
        if len(sizes) != known:
            raise Failure(f"{known} messages are in the queue, and {len(sizes)} were seen on their way there")
        return sizes

    def close(self) -> None:
        self._client.close()
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
