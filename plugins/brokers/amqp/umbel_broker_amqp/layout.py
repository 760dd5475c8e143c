"""How content headers that are made alike are read: what is the same in all of them is compared, not decoded."""

from __future__ import annotations

from struct import Struct, error

from umbel_broker_amqp.content import CORRELATION, ENCODING, HEADERS, MODE, PRIORITY, REPLY, TYPE
from umbel_broker_amqp.table import read_value
from umbel_kernel.spi.message import Delivery

_LONG = Struct(">I")
_NUMBER = Struct(">i")
_FLAGS = Struct(">H")
_TEXT, _SMALL = ord("S"), ord("I")
_NEEDED = TYPE | ENCODING | HEADERS
_MAY = _NEEDED | MODE | PRIORITY | CORRELATION | REPLY
_START = 12
"""Where a content header differs first from others: behind it stand the class and the length of the body."""


class Layout:
    """Content headers with the same properties, and in their table the same names with the same types, in one order.

    It is made of one of them, and takes at first all values for the same in all. ``widen`` tells of another one: the
    texts and numbers that differ in it are decoded from then on.

    Args:
        header: a content header.
        delivery: what ``content.unpack`` made of it.

    Raises:
        ValueError: it has what is too rare for a layout.

    Attributes:
        shape: what two headers have in common that one layout can read.
    """

    def __init__(self, header: bytes, delivery: Delivery) -> None:
        self._headers = dict(delivery.headers)
        self._mutable = {name: value.copy() for name, value in self._headers.items() if isinstance(value, (list, dict))}
        for value in self._mutable.values():
            if any(isinstance(each, (list, dict)) for each in (value if isinstance(value, list) else value.values())):
                raise ValueError("values that nest deeper would be shared by all deliveries")
        self._known = (delivery.content_type, delivery.content_encoding, delivery.priority)
        self._mode = dict(delivery.properties)
        self._identity, self._reply = delivery.correlation_id, delivery.reply_to
        # What is always the same before each value; the values with their lengths; and what each of them is: of the
        # table by its name and type, or the property whose flag it is.
        self._pieces: list[bytes] = []
        self._values: list[bytes] = []
        self._holes: list[tuple[str, int]] = []
        self._scan(header)
        self.shape = (self._first, tuple(self._pieces), tuple(self._holes))
        self._varying = [False] * len(self._values)
        self._write()

    def widen(self, other: Layout) -> None:
        """Decode from now on what differs in another layout of the same shape."""
        pairs = zip(self._varying, self._values, other._values, strict=True)
        self._varying = [varies or mine != theirs for varies, mine, theirs in pairs]
        self._write()

    def read(self, header: bytes, delivery: Delivery) -> bool:
        """Fill in a delivery from a content header. Returns whether it is of this layout; if not, nothing is done."""
        at = self._table
        if header[_START:at] != self._first:
            return False
        headers = self._headers.copy()
        identity, reply = self._identity, self._reply
        try:
            end = at + 4 + _LONG.unpack_from(header, at)[0]
            at += 4
            for same, size, name, kind in self._entries:
                stop = at + size
                if header[at:stop] != same:
                    return False
                if kind == _TEXT:
                    at = stop + 4 + _LONG.unpack_from(header, stop)[0]
                    headers[name] = header[stop + 4 : at].decode()
                else:
                    at = stop + 4
                    headers[name] = _NUMBER.unpack_from(header, stop)[0]
            if at + self._rest != end:
                return False
            for same, size, flag in self._named:
                stop = at + size
                if header[at:stop] != same:
                    return False
                at = stop + 1 + header[stop]
                if flag == CORRELATION:
                    identity = header[stop + 1 : at].decode()
                else:
                    reply = header[stop + 1 : at].decode()
        except (UnicodeDecodeError, IndexError, error):
            return False
        if header[at:] != self._last or at > len(header):
            return False
        for name, value in self._mutable.items():
            headers[name] = value.copy()
        delivery.headers = headers
        delivery.content_type, delivery.content_encoding, delivery.priority = self._known
        delivery.properties = self._mode.copy()
        delivery.correlation_id, delivery.reply_to = identity, reply
        return True

    def _scan(self, header: bytes) -> None:
        """Find the values."""
        (flags,) = _FLAGS.unpack_from(header, _START)
        if flags & _NEEDED != _NEEDED or flags & ~_MAY:
            raise ValueError("properties that are rare")
        at = _START + 2
        for _ in range(2):
            at += 1 + header[at]
        self._table, self._first = at, header[_START:at]
        self._end = at + 4 + _LONG.unpack_from(header, at)[0]
        at += 4
        self._ends: list[int] = []
        same = at
        names = 0
        while at < self._end:
            stop = at + 1 + header[at]
            name, kind = header[at + 1 : stop].decode("utf-8", "replace"), header[stop]
            at = stop + 1
            names += 1
            if kind in (_TEXT, _SMALL):
                size = 4 + _LONG.unpack_from(header, at)[0] if kind == _TEXT else 4
                same = self._hole(header, same, at, size, (name, kind))
                at = same
            else:
                _, at = read_value(header, kind, at)
        if at != self._end or names != len(self._headers):
            raise ValueError("names that stand there twice")
        at += bool(flags & MODE) + bool(flags & PRIORITY)
        for flag in (CORRELATION, REPLY):
            if flags & flag:
                same = at = self._hole(header, same, at, 1 + header[at], ("", flag))
        self._pieces.append(header[same:])

    def _hole(self, header: bytes, same: int, at: int, size: int, what: tuple[str, int]) -> int:
        """Note a value. Returns where it ends."""
        self._pieces.append(header[same:at])
        self._values.append(header[at : at + size])
        self._holes.append(what)
        self._ends.append(at + size)
        return at + size

    def _write(self) -> None:
        """Put together what is the same between one value that varies and the next."""
        self._entries: list[tuple[bytes, int, str, int]] = []
        self._named: list[tuple[bytes, int, int]] = []
        same, last = b"", self._table + 4
        values = zip(self._pieces, self._values, self._holes, self._ends, self._varying, strict=False)
        for piece, value, (name, kind), end, varies in values:
            same += piece
            if not varies:
                same += value
            elif kind in (_TEXT, _SMALL):
                self._entries.append((same, len(same), name, kind))
                same, last = b"", end
            else:
                self._named.append((same, len(same), kind))
                same = b""
        self._last = same + self._pieces[-1]
        self._rest = self._end - last
