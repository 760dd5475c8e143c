"""One connection to the server. py-amqp opens it and declares on it; messages go past py-amqp, many at a time."""

from __future__ import annotations

import fcntl
import os
import select
import socket
import ssl
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import amqp.exceptions

from umbel_broker_amqp.address import Address
from umbel_broker_amqp.connection import GARBAGE, check_size
from umbel_broker_amqp.content import END, FRAME
from umbel_broker_amqp.heart import heart
from umbel_broker_amqp.inbound import Inbound, OnContent, OnSettled
from umbel_kernel.errors import ChannelError, OperationalError, UmbelError
from umbel_kernel.url import mask

_BEAT = FRAME.pack(8, 0, 0) + END
_ASK = FRAME.pack(1, 1, 5) + b"\x00\x14\x00\x14\x01" + END
_AT_ONCE = 262_144
_AT_MOST = 8_192
_FOREIGN = (amqp.exceptions.AMQPError, OSError, EOFError, AttributeError)


class Session:
    """A connection with one channel for messages and one for everything else, for one thread at a time.

    A connection with ``on_content`` asks a silent server for an answer and is given up when there is none within 15
    seconds. One without is not, since nobody waits for it: its requests have deadlines of their own.

    Args:
        address: where the server is.
        timeout: seconds that connecting, and later each request, may take.
        on_content: called with the method, header and body of each delivery.
        on_settled: called with tag, ``multiple`` and whether it was taken, for each publisher confirm.
        on_returned: called with the method, header and body of what no queue took.

    Raises:
        OperationalError: the server cannot be reached or refuses us.
    """

    def __init__(
        self,
        address: Address,
        *,
        timeout: float,
        on_content: OnContent | None = None,
        on_settled: OnSettled | None = None,
        on_returned: OnContent | None = None,
    ) -> None:
        self._shown = address.shown
        self._publishes = on_settled is not None
        self._inbound = Inbound(on_content, on_settled, on_returned)
        self._asked = 0
        self._verdict = ""
        # Held while something is written; with TLS, whose state both directions share, also while something is read.
        self._turn = threading.RLock()
        self._connection: Any = address.connection(timeout)
        try:
            self._connection.deadline = time.monotonic() + timeout
            self._connection.connect()
            self._sock = self._connection.sock
            self._sock.settimeout(timeout)
            self._plain = not isinstance(self._sock, ssl.SSLSocket)
            self._inbound.others = self._connection.on_inbound_frame
            self._connection.on_inbound_frame = self._inbound.on_frame
            self.channel: Any = self._connection.channel()
            self._side: Any = None
        except (*_FOREIGN, *GARBAGE) as error:
            self.abandon()
            raise OperationalError(
                f"cannot reach AMQP at {self._shown}: {_reason(error)}; {address.hint(error)}"
            ) from error
        self.frame_max: int = self._connection.frame_max
        if self._connection.heartbeat:
            heart.keep(self, float(self._connection.heartbeat), asks=on_content is not None)

    @property
    def number(self) -> int:
        """The number of the channel for messages."""
        return int(self.channel.channel_id)

    @property
    def cancelled(self) -> list[str]:
        """The tags of consumers whose queue was deleted."""
        return self._inbound.cancelled

    @property
    def blocked(self) -> str:
        """Why the server takes no messages at present; empty when it does."""
        return self._inbound.blocked

    @property
    def alive(self) -> bool:
        """Whether nothing is known against this connection."""
        return bool(self._connection is not None and self._connection.connected and self.channel.is_open)

    def side(self) -> Any:
        """py-amqp's channel for declaring; a new one after the server closed it for a fault."""
        with self.errors():
            if self._side is None or not self._side.is_open:
                closed, self._side = self._side, None
                if closed is not None:
                    closed.collect()
                self._side = self._connection.channel()
            return self._side

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Turn py-amqp's errors and the socket's into ours, and keep the heart's thread from writing meanwhile."""
        with self._turn:
            try:
                yield
            except _FOREIGN as error:
                raise self._ours(error) from error
            except UmbelError:
                raise
            except BaseException:
                self.abandon()
                raise

    def _ours(self, error: Exception) -> OperationalError | ChannelError:
        if isinstance(error, amqp.exceptions.ChannelError):
            return ChannelError(f"AMQP at {self._shown} refuses: {_reason(error)}")
        blocked = f"; the server takes no messages: {self.blocked}" if self.blocked else ""
        reason = self._verdict or _reason(error)
        if isinstance(error, GARBAGE) and not self._verdict:
            reason = f"what the server sends is no AMQP: {reason}"
        self.abandon()
        return OperationalError(f"lost AMQP at {self._shown}: {reason}{blocked}; connect again")

    def within(self, timeout: float) -> None:
        """The requests from now on have to be done within so many seconds together."""
        with self.errors():
            timeout = max(0.001, timeout)
            self._connection.deadline = time.monotonic() + timeout
            self._sock.settimeout(timeout)

    def write(self, data: bytes, timeout: float | None = None) -> None:
        """Send whole frames.

        Args:
            timeout: seconds that it may take; None: what ``within`` said.

        Raises:
            OperationalError: the connection is lost, or did not take it in time.
        """
        with self._turn:
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
                self._connection._transport.write(data)
            except (*_FOREIGN, ValueError) as error:
                raise self._ours(error) from error
            except BaseException:
                # A task's time limit, for one: part of a frame may have been sent. Who publishes learns of that by the
                # confirms.
                if not self._publishes:
                    self.abandon()
                raise

    def asking(self, data: bytes) -> bytes:
        """These frames with a question behind them, which the server answers when it has done what they say: see
        ``answered``. For sessions without ``on_content``, since the heart's thread asks the others."""
        self._asked += 1
        return data + _ASK

    @property
    def answered(self) -> bool:
        """Whether the server has done all that it was asked about."""
        return self._inbound.answered >= self._asked

    def fileno(self) -> int:
        """The socket's descriptor, or -1."""
        return self._sock.fileno() if self._connection is not None else -1

    def pending(self) -> bool:
        """Whether TLS holds bytes that waiting on the socket would not tell of."""
        return not self._plain and bool(self._sock.pending())

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
            if self._plain:
                data = self._sock.recv(_AT_ONCE)
            else:
                with self._turn:
                    data = self._sock.recv(_AT_ONCE)
            self._took(data)
        except (*_FOREIGN, *GARBAGE) as error:
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
        except (*_FOREIGN, *GARBAGE) as error:
            raise self._ours(error) from error

    def _took(self, data: bytes) -> None:
        if not data:
            raise ConnectionResetError("the server closed the connection")
        connection = self._connection
        connection.bytes_recv += 1
        transport = connection._transport
        buffer = transport._read_buffer + data if transport._read_buffer else data
        transport._read_buffer = b""
        on_frame = self._inbound.on_frame
        at, size = 0, len(buffer)
        try:
            while size - at >= 8:
                kind, channel, length = FRAME.unpack_from(buffer, at)
                stop = at + 7 + length
                if stop >= size:
                    check_size(length, connection.frame_max)
                    break
                if buffer[stop] != 0xCE:
                    raise amqp.exceptions.UnexpectedFrame("a frame does not end where it says; is this AMQP?")
                payload = buffer[at + 7 : stop]
                at = stop + 1
                on_frame((kind, channel, payload))
        finally:
            if self._connection is not None and self._connection._transport is transport:
                transport._read_buffer = buffer[at:]

    # What the heart's thread calls

    def traffic(self) -> tuple[int, object]:
        """See ``Beating.traffic``."""
        connection = self._connection
        try:
            unread = fcntl.ioctl(self._sock.fileno(), termios.FIONREAD, b"\0\0\0\0")
            return connection.bytes_sent, (connection.bytes_recv, unread)
        except (OSError, ValueError, AttributeError):
            return 0, b""

    def beat(self) -> None:
        """See ``Beating.beat``."""
        self._send_aside(_BEAT)

    def ask(self) -> None:
        """See ``Beating.ask``. RabbitMQ answers ``channel.flow`` with no effect; a server that is low on memory reads
        nothing from who publishes, so it is not asked then, and its own heartbeats have to do."""
        self._send_aside(_BEAT if self.blocked else _ASK)

    def _send_aside(self, data: bytes) -> None:
        """Send a few bytes unless somebody is sending, or the server takes nothing, in which case it needs none."""
        if not self._turn.acquire(blocking=False):
            return
        try:
            poller = select.poll()
            poller.register(self._sock.fileno(), select.POLLOUT)
            if poller.poll(0):
                self._connection.bytes_sent += 1
                done = os.write(self._sock.fileno(), data) if self._plain else self._sock.send(data)
                if done < len(data):
                    self.give_up("a sign of life was sent in part")
        except (OSError, ValueError, AttributeError) as error:
            self.give_up(_reason(error))
        finally:
            self._turn.release()

    def give_up(self, reason: str) -> None:
        """See ``Beating.give_up``. Whoever waits for the socket finds it at its end."""
        self._verdict = reason
        with suppress(OSError, AttributeError):
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)

    # The end

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
        heart.drop(self)
        with self._turn:
            connection, self._connection = self._connection, None
            if connection is not None:
                with suppress(OSError, ValueError, AttributeError):
                    connection.collect()


def _reason(error: BaseException) -> str:
    return mask(str(error)) or type(error).__name__
