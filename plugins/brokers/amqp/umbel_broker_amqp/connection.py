"""py-amqp's connection with what it lacks: a deadline for each request, and limits to what a server may send."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from typing import Any

import amqp
from amqp.exceptions import UnexpectedFrame

GARBAGE = (struct.error, IndexError, KeyError, ValueError, OverflowError)
"""What py-amqp and the codec raise when what they read is no AMQP."""

_HEAD = struct.Struct(">BHI")
_OVERHEAD = 8


class Channel(amqp.Channel):  # type: ignore[misc]  # py-amqp has no types
    """A channel that stays closed when the server has closed it, instead of waiting for a new one at once."""

    def _do_revive(self) -> None:
        self.is_open = False


class Connection(amqp.Connection):  # type: ignore[misc]  # py-amqp has no types
    """A connection of which every wait ends.

    Attributes:
        deadline: the monotonic time at which the request under way has to be answered; None for no limit. Without it a
            server that sends heartbeats and never an answer would be waited for without end.
    """

    Channel = Channel
    deadline: float | None = None

    def Transport(self, *args: Any, **options: Any) -> Any:
        """The transport, which reads no frame that is larger than agreed."""
        transport = super().Transport(*args, **options)
        transport.read_frame = _reader(self, transport)
        return transport

    def blocking_read(self, timeout: float | None = None) -> Any:
        """Read a frame and act on it.

        Raises:
            TimeoutError: there is none before the deadline.
            UnexpectedFrame: the server sends what is no AMQP.
        """
        if self.deadline is not None:
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("no answer in time")
            timeout = left if timeout is None else min(timeout, left)
        try:
            return super().blocking_read(timeout)
        except TimeoutError as error:
            raise TimeoutError("no answer in time") from error
        except GARBAGE as error:
            raise UnexpectedFrame(f"what the server sends is no AMQP: {error}") from error


def check_size(length: int, frame_max: int) -> None:
    """Refuse a frame before it is read.

    Raises:
        UnexpectedFrame: a payload of ``length`` bytes is more than agreed.
    """
    if length > frame_max - _OVERHEAD:
        raise UnexpectedFrame(f"a frame of {length} bytes, where {frame_max - _OVERHEAD} are agreed; is this AMQP?")


def _reader(connection: Connection, transport: Any) -> Callable[[], tuple[int, int, bytes]]:
    def read_frame() -> tuple[int, int, bytes]:
        head = b""
        try:
            head = transport._read(7, True)
            kind, channel, length = _HEAD.unpack(head)
            check_size(length, connection.frame_max)
            rest = transport._read(length + 1)
        except TimeoutError:
            transport._read_buffer = head + transport._read_buffer
            raise
        except OSError:
            transport.connected = False
            raise
        if rest[-1] != 0xCE:
            raise UnexpectedFrame("a frame does not end where it says; is this AMQP?")
        return kind, channel, rest[:-1]

    return read_frame
