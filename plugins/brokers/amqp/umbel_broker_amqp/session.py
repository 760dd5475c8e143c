"""One connection to the server. py-amqp opens it and declares on it; messages go past py-amqp, many at a time."""

from __future__ import annotations

import os
import select
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import amqp
import amqp.exceptions

from umbel_broker_amqp.address import Address
from umbel_broker_amqp.content import END, FRAME, body_size
from umbel_kernel.errors import ChannelError, OperationalError
from umbel_kernel.url import mask

_DELIVER = b"\x00\x3c\x00\x3c"
_ACK = b"\x00\x3c\x00\x50"
_NACK = b"\x00\x3c\x00\x78"
_CANCEL = b"\x00\x3c\x00\x1e"
_AT_ONCE = 262_144
_AT_MOST = 8_192
_FOREIGN = (amqp.exceptions.AMQPError, OSError, EOFError, AttributeError)

OnContent = Callable[[bytes, bytes, bytes], None]
OnSettled = Callable[[int, bool, bool], None]


class Session:
    """A connection with one channel for messages and one for everything else, for one thread at a time.

    Args:
        address: where the server is.
        timeout: seconds that each step of connecting may take, and later each wait for an answer.
        heartbeat: seconds between signs of life, 0 for none.
        on_content: called with the method, header and body of each delivery.
        on_settled: called with tag, ``multiple`` and whether it was taken, for each publisher confirm.

    Raises:
        OperationalError: the server cannot be reached or refuses us.
    """

    def __init__(
        self,
        address: Address,
        *,
        timeout: float,
        heartbeat: float = 0.0,
        on_content: OnContent | None = None,
        on_settled: OnSettled | None = None,
    ) -> None:
        self._shown = address.shown
        self._on_content = on_content
        self._on_settled = on_settled
        self._method = b""
        self._header = b""
        self._parts: list[bytes] = []
        self._missing = 0
        self.cancelled: list[str] = []
        self._connection: Any = address.connection(timeout, heartbeat)
        try:
            self._connection.connect()
            self._sock = self._connection.sock
            self._sock.settimeout(timeout)
            self._plain = not isinstance(self._sock, ssl.SSLSocket)
            self._others = self._connection.on_inbound_frame
            self._connection.on_inbound_frame = self._on_frame
            self.channel: Any = self._connection.channel()
            self._side: Any = None
        except _FOREIGN as error:
            self.abandon()
            raise OperationalError(
                f"cannot reach AMQP at {self._shown}: {_reason(error)}; is it running, and are user and vhost right?"
            ) from error
        self.frame_max: int = self._connection.frame_max or 131_072
        self._tick = heartbeat / 4
        self._ticked = time.monotonic()

    @property
    def number(self) -> int:
        """The number of the channel for messages."""
        return int(self.channel.channel_id)

    @property
    def alive(self) -> bool:
        """Whether nothing is known against this connection."""
        return bool(self._connection is not None and self._connection.connected and self.channel.is_open)

    def side(self) -> Any:
        """py-amqp's channel for declaring; a new one after the server closed it for a fault."""
        with self.errors():
            if self._side is None or not self._side.is_open:
                self._side = self._connection.channel()
            return self._side

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn py-amqp's errors and the socket's into ours."""
        try:
            yield
        except _FOREIGN as error:
            raise self._ours(error) from error

    def _ours(self, error: Exception) -> OperationalError | ChannelError:
        if isinstance(error, amqp.exceptions.ChannelError):
            return ChannelError(f"AMQP at {self._shown} refuses: {_reason(error)}")
        self.abandon()
        return OperationalError(f"lost AMQP at {self._shown}: {_reason(error)}; connect again")

    def within(self, timeout: float) -> None:
        """From now on a single wait may take so many seconds."""
        with self.errors():
            self._sock.settimeout(max(0.001, timeout))

    def write(self, data: bytes, timeout: float | None = None) -> None:
        """Send whole frames.

        Args:
            timeout: seconds that it may take; None: what ``within`` said.

        Raises:
            OperationalError: the connection is lost, or did not take it in time.
        """
        try:
            self._connection.bytes_sent += 1
            if self._plain:
                try:
                    done = os.write(self._sock.fileno(), data)
                except BlockingIOError:
                    done = 0
                if done == len(data):
                    return
                data = data[done:]
            if timeout is not None:
                self._sock.settimeout(max(0.001, timeout))
            self._connection.transport.write(data)
        except _FOREIGN as error:
            raise self._ours(error) from error

    def fileno(self) -> int:
        """The socket's descriptor, or -1."""
        return self._sock.fileno() if self._connection is not None else -1

    def pending(self) -> bool:
        """Whether TLS holds bytes that waiting on the socket would not tell of."""
        pending = getattr(self._sock, "pending", None)
        return bool(pending is not None and pending())

    def wait(self, seconds: float, wake: int = -1) -> bool:
        """Wait until the server sends something, for so long, or until the descriptor ``wake`` is readable.

        Returns whether there is something from the server.
        """
        if self.pending():
            return True
        descriptor = self.fileno()
        if descriptor < 0:
            raise OperationalError(f"lost AMQP at {self._shown}: the connection is closed; connect again")
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        if wake >= 0:
            poller.register(wake, select.POLLIN)
        ready = poller.poll(max(0, round(seconds * 1000 + 0.499)))
        return any(found == descriptor for found, _ in ready)

    def read(self) -> None:
        """Take what the server has sent and pass it on. Call when ``wait`` said that there is something.

        Raises:
            OperationalError: the connection is lost.
            ChannelError: the server closed the channel for a fault.
        """
        try:
            self._took(self._sock.recv(_AT_ONCE))
        except _FOREIGN as error:
            raise self._ours(error) from error

    def take(self) -> None:
        """Take what the server has sent so far, if anything, without waiting. Raises as ``read`` does."""
        if not self._plain:
            while self.wait(0):
                self.read()
            return
        try:
            while True:
                try:
                    data = os.read(self._sock.fileno(), _AT_MOST)
                except BlockingIOError:
                    return
                self._took(data)
                if len(data) < _AT_MOST:
                    return
        except _FOREIGN as error:
            raise self._ours(error) from error

    def _took(self, data: bytes) -> None:
        if not data:
            raise ConnectionResetError("the server closed the connection")
        transport = self._connection.transport
        buffer = transport._read_buffer + data if transport._read_buffer else data
        transport._read_buffer = b""
        at, size = 0, len(buffer)
        try:
            while size - at >= 8:
                kind, channel, length = FRAME.unpack_from(buffer, at)
                stop = at + 7 + length
                if stop >= size:
                    break
                if buffer[stop] != 0xCE:
                    raise amqp.exceptions.UnexpectedFrame("a frame does not end where it says")
                payload = buffer[at + 7 : stop]
                at = stop + 1
                self._on_frame((kind, channel, payload))
        finally:
            if self._connection is not None and self._connection.transport is transport:
                transport._read_buffer = buffer[at:]

    def poke(self) -> None:
        """Send a heartbeat when one is due, and find out whether the server's came.

        Raises:
            OperationalError: it was silent for two heartbeats.
        """
        now = time.monotonic()
        if self._tick and now - self._ticked >= self._tick:
            self._ticked = now
            with self.errors():
                self._connection.heartbeat_tick()

    def beat(self) -> None:
        """Send a heartbeat now."""
        self.write(FRAME.pack(8, 0, 0) + END)

    def close(self, timeout: float) -> None:
        """Close in order, so that what was sent is done. Never raises."""
        try:
            if self.alive:
                self.within(timeout)
                with self.errors():
                    self._connection.close()
        except (OperationalError, ChannelError):
            pass  # it is closed, which is all that was wanted
        self.abandon()

    def abandon(self) -> None:
        """Drop the connection without a word."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.collect()
            except (OSError, AttributeError):
                return

    def _on_frame(self, frame: tuple[int, int, bytes]) -> Any:
        """Take the frames of messages and confirms; pass all others to py-amqp."""
        kind, channel, payload = frame
        if channel == 1:
            if kind == 1:
                name = payload[:4]
                if name == _DELIVER and self._on_content is not None:
                    self._method = payload
                    self._connection.bytes_recv += 1
                    return False
                if name in (_ACK, _NACK) and self._on_settled is not None:
                    self._connection.bytes_recv += 1
                    self._on_settled(int.from_bytes(payload[4:12], "big"), bool(payload[12] & 1), name == _ACK)
                    return True
                if name == _CANCEL:
                    self.cancelled.append(payload[5 : 5 + payload[4]].decode("utf-8", "replace"))
                    return True
            elif kind == 2 and self._method:
                self._header = payload
                self._missing = body_size(payload)
                self._parts = []
                return self._complete() if not self._missing else False
            elif kind == 3 and self._method:
                self._parts.append(payload)
                self._missing -= len(payload)
                return self._complete() if self._missing <= 0 else False
        return self._others(frame)

    def _complete(self) -> bool:
        method, self._method = self._method, b""
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        if self._on_content is not None:
            self._on_content(method, self._header, body)
        return True


def _reason(error: BaseException) -> str:
    return mask(str(error)) or type(error).__name__
