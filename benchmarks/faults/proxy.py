"""Stands between a worker and the server, and does to the connections what networks do: stalls, cuts, resets."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
import time

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time: closing sends RST instead of FIN."""
_AT_ONCE = 65536


class _Pair:
    """A connection's two ends, and what one has said that the other has not yet taken."""

    def __init__(self, inner: socket.socket, outer: socket.socket) -> None:
        self.ends = (inner, outer)
        self.pending: dict[socket.socket, bytes] = {inner: b"", outer: b""}
        """Bytes that are to be written to that end."""

    def other(self, end: socket.socket) -> socket.socket:
        return self.ends[1] if end is self.ends[0] else self.ends[0]


class Proxy:
    """One thread forwards all connections. Where the server does not answer, a connection is closed at once.

    Args:
        server: host and port.
    """

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._listening = socket.create_server(("127.0.0.1", 0), backlog=128)
        self._listening.setblocking(False)
        self.port: int = self._listening.getsockname()[1]
        self.accepted: list[float] = []
        """When connections were made, on the monotonic clock."""
        self.resets = 0
        self._stalled = threading.Event()
        self._reset = threading.Event()
        self._over = threading.Event()
        self._pairs: list[_Pair] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stall(self) -> None:
        """Forward nothing any more, in neither direction, and close nothing. New connections are made and stall too."""
        self._stalled.set()

    def flow(self) -> None:
        """Forward again, first what has gathered meanwhile."""
        self._stalled.clear()

    def reset(self) -> None:
        """Reset all connections, soon."""
        self._reset.set()

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._listening.close()
        for pair in self._pairs:
            self._end(pair)

    def _run(self) -> None:
        while not self._over.is_set():
            if self._reset.is_set():
                self._reset.clear()
                for pair in self._pairs:
                    self._end(pair)
                self.resets += len(self._pairs)
                self._pairs = []
            self._turn()

    def _turn(self) -> None:
        stalled = self._stalled.is_set()
        of = {} if stalled else {end: pair for pair in self._pairs for end in pair.ends}
        reading = [end for end, pair in of.items() if not pair.pending[pair.other(end)]]
        writing = [end for end, pair in of.items() if pair.pending[end]]
        readable, writable, _ = select.select([self._listening, *reading], writing, [], 0.005)
        broken: set[int] = set()
        for end in writable:
            pair = of[end]
            try:
                pair.pending[end] = pair.pending[end][end.send(pair.pending[end]) :]
            except BlockingIOError:
                continue
            except OSError:
                broken.add(id(pair))
        for end in readable:
            if end is self._listening:
                self._accept()
                continue
            pair = of[end]
            try:
                data = end.recv(_AT_ONCE)
            except BlockingIOError:
                continue
            except OSError:
                data = b""
            if not data:
                broken.add(id(pair))
                continue
            other = pair.other(end)
            try:
                data = data[other.send(data) :]
            except BlockingIOError:
                pass
            except OSError:
                broken.add(id(pair))
            pair.pending[other] = data
        for pair in self._pairs:
            if id(pair) in broken:
                self._end(pair, reset=False)
        self._pairs = [pair for pair in self._pairs if id(pair) not in broken]

    def _accept(self) -> None:
        try:
            inner, _ = self._listening.accept()
        except OSError:
            return
        self.accepted.append(time.monotonic())
        try:
            outer = socket.create_connection(self._server, timeout=5)
        except OSError:
            inner.close()
            return
        for end in (inner, outer):
            end.setblocking(False)
            with contextlib.suppress(OSError):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._pairs.append(_Pair(inner, outer))

    def _end(self, pair: _Pair, *, reset: bool = True) -> None:
        for end in pair.ends:
            with contextlib.suppress(OSError):
                if reset:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            end.close()
