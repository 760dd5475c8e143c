"""The bytes of an open connection: as few system calls a batch as there can be."""

from __future__ import annotations

import _socket
import contextlib
import select
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

from umbel_client_redis.connection import Connection
from umbel_client_redis.errors import Disconnected, TimedOut
from umbel_client_redis.resp import MORE, Command, pack

_READ = 65536
_SECONDS = struct.Struct("ll")


class Wire:
    """Sends commands and reads replies, on a connection that is open.

    Where the system keeps a socket's deadlines (SO_RCVTIMEO), a read is one call; Python's own deadline takes three.
    TLS needs Python's, and so do sockets that gevent or eventlet has put in the place of the system's. All methods
    raise ``RedisError`` or ``OSError`` when the connection is of no more use.

    Args:
        connection: open, and nothing is due on it.
    """

    def __init__(self, connection: Connection) -> None:
        if connection.sock is None:
            raise Disconnected("it is closed")
        self.connection = connection
        self._sock: socket.socket = connection.sock
        self._native = type(self._sock) is socket.socket and socket.socket.recv_into is _socket.socket.recv_into
        self._seconds = 0.0
        self._buffer = bytearray(_READ)
        self._reader = connection.reader
        self._poller = select.poll()
        self._poller.register(self._sock, select.POLLIN)
        self.within(connection.socket_timeout or 5.0)

    def within(self, seconds: float) -> None:
        """What is sent or read from now on may take so many seconds."""
        if seconds == self._seconds:
            return
        seconds = max(seconds, 0.001)
        if self._native:
            try:
                whole = int(seconds)
                life = _SECONDS.pack(whole, int((seconds - whole) * 1e6))
                self._sock.settimeout(None)
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, life)
                self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, life)
            except OSError:
                self._native = False
        if not self._native:
            self._sock.settimeout(seconds)
        self._seconds = seconds

    def send(self, commands: Sequence[Command]) -> None:
        """Write a batch."""
        self.write(pack(commands))

    def write(self, data: bytes) -> None:
        """Write what is in Redis's own form already."""
        try:
            self._sock.sendall(data)
        except (BlockingIOError, TimeoutError) as error:
            raise TimedOut("it took nothing for too long") from error

    def replies(self, count: int, into: list[Any], end: float) -> None:
        """Read so many replies, until a monotonic time; an error that the server answers stands among them."""
        gets = self._reader.gets
        for number in range(count):
            reply = gets()
            while reply is MORE:
                if number:
                    self._hurry(end)
                self._receive()
                reply = gets()
            if isinstance(reply, Disconnected):
                raise reply
            into.append(reply)

    def read(self) -> Any:
        """The next reply or pushed message; an error that the server answers is returned."""
        found: list[Any] = []
        self.replies(1, found, time.monotonic() + self._seconds)
        return found[0]

    def readable(self) -> bool:
        """Whether ``read`` would find something at once, or the end of the connection."""
        return self._reader.has_data() or self._pending() or bool(self._poller.poll(0))

    def pushed(self) -> list[Any]:
        """All that has come and was not read yet, without waiting."""
        found: list[Any] = []
        if not self._native:
            while self.readable():
                found.append(self.read())
            return found
        while True:
            with contextlib.suppress(BlockingIOError):
                data = self._sock.recv(_READ, socket.MSG_DONTWAIT)
                if not data:
                    raise Disconnected("the server has closed the connection")
                self._reader.feed(data)
                if len(data) == _READ:
                    continue
            break
        while (reply := self._reader.gets()) is not MORE:
            found.append(reply)
        return found

    def stale(self) -> bool:
        """Whether the server has closed an idle connection: nothing is due on it, so anything readable is the end."""
        return bool(self._poller.poll(0))

    def fileno(self) -> int:
        """The socket's descriptor, or -1 when it is closed."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close the connection."""
        self.connection.disconnect()

    def _receive(self) -> None:
        try:
            count = self._sock.recv_into(self._buffer)
        except (BlockingIOError, TimeoutError) as error:
            raise TimedOut("it did not answer in time") from error
        if not count:
            raise Disconnected("the server has closed the connection")
        self._reader.feed(self._buffer, 0, count)

    def _pending(self) -> bool:
        """Whether TLS has bytes that the socket does not show."""
        return not self._native and bool(getattr(self._sock, "pending", int)())

    def _hurry(self, end: float) -> None:
        """A server that answers a batch drop by drop has one deadline for all of it."""
        left = end - time.monotonic()
        if left < self._seconds / 2:
            self.within(max(0.001, left))
