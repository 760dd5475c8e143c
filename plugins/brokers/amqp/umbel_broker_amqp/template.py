"""The messages of one form: the frames are written once, and each message fills in what is its own."""

from __future__ import annotations

from struct import Struct

from umbel_broker_amqp.content import CORRELATION, END, check_fits, method_frame, properties
from umbel_broker_amqp.table import pack_value, short
from umbel_kernel.spi.message import Message

_HEAD = Struct(">BHIHHQH")
_BETWEEN = Struct(">BBHI")
_LONG = Struct(">I")
_TEXT = Struct(">cI")
_HEAD_SIZE = 14
_TABLE, _IDENTITY, _BODY_HEAD, _BODY = 3, -5, -3, -2


class Template:
    """The frames of a ``basic.publish`` with holes.

    Args:
        message: any message of the form.
        channel: the number of the channel that the frames are for.

    Raises:
        ValueError: a property or header does not fit.
    """

    def __init__(self, message: Message, channel: int) -> None:
        assert message.form is not None
        self.channel = channel
        flags, before, mode, _, after = properties(message)
        self._flags = flags | CORRELATION
        varying = frozenset(message.form.varying)
        # The method; the header frame up to the properties; the first of these; the size of the table of headers.
        parts = [method_frame(channel, message.exchange, message.routing_key), b"", before, b""]
        self._holes: list[tuple[int, str]] = []
        known = b""
        for name, value in message.headers.items():
            known += short(name)
            if name in varying:
                self._holes.append((len(parts) + 1, name))
                parts += (known, b"")
                known = b""
            else:
                known += pack_value(value)
        parts += (known, mode, b"", after, b"", b"", END)
        self._table = sum(map(len, parts[_TABLE + 1 : -6]))
        self._size = _HEAD_SIZE + len(before) + 4 + len(mode) + 1 + len(after)
        self._parts = parts

    def frames(self, message: Message, frame_max: int) -> bytes | None:
        """The same bytes as of ``pack``; None for a message that the template is not made for.

        Raises:
            ValueError: a property or header does not fit.
        """
        body, identity = message.body, message.correlation_id
        if not body or len(body) > frame_max - 8 or identity is None:
            return None
        parts = self._parts.copy()
        headers = message.headers
        table = self._table
        for at, name in self._holes:
            value = headers[name]
            if type(value) is str:
                text = value.encode("utf-8", "surrogatepass")
                data = _TEXT.pack(b"S", len(text)) + text
            else:
                data = pack_value(value)
            parts[at] = data
            table += len(data)
        named = identity.encode()
        if len(named) > 255:
            raise ValueError(f"the correlation id {identity[:40]!r}... is longer than 255 bytes")
        check_fits(self._size + table + len(named), frame_max)
        size, channel = len(body), self.channel
        parts[1] = _HEAD.pack(2, channel, self._size + table + len(named), 60, 0, size, self._flags)
        parts[_TABLE] = _LONG.pack(table)
        parts[_IDENTITY] = bytes((len(named),)) + named
        parts[_BODY_HEAD] = _BETWEEN.pack(0xCE, 3, channel, size)
        parts[_BODY] = body
        return b"".join(parts)
