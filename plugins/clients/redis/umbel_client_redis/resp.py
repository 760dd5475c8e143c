"""Redis' protocol: commands made into bytes and bytes into replies; RESP2, and by hiredis also RESP3.

The specification: https://redis.io/docs/latest/develop/reference/protocol-spec/
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from umbel_client_redis.errors import Garbled, from_reply

try:
    import hiredis
except ImportError:  # ten times slower without it, and enough
    hiredis = None  # type: ignore[assignment]

Command = Sequence[Any]

MORE: Any = object()
"""What a reader has while a reply is not whole."""


Pushed: type | None = getattr(hiredis, "PushNotification", None)
"""What a message that nobody asked for is in RESP3; None where no reader knows that protocol."""


class PlainReader:
    """Replies out of bytes as they come, in Python; used as hiredis' reader is.

    Bulk replies are bytes, simple ones too, numbers are numbers, errors exceptions.
    """

    def __init__(self) -> None:
        self._data = bytearray()
        self._at = 0

    def feed(self, data: bytes | bytearray, offset: int = 0, length: int | None = None) -> None:
        """Take in bytes, or a part of them."""
        self._data += memoryview(data)[offset : len(data) if length is None else offset + length]

    def has_data(self) -> bool:
        """Whether there are bytes of a reply that ``gets`` has not returned."""
        return self._at < len(self._data)

    def gets(self) -> Any:
        """The next reply, or ``MORE``.

        Raises:
            Garbled: what came is no reply.
        """
        reply, at = self._parse(self._at)
        if reply is MORE:
            if self._at:
                del self._data[: self._at]
                self._at = 0
            return MORE
        if at == len(self._data):
            self._data.clear()
            at = 0
        self._at = at
        return reply

    def _parse(self, at: int) -> tuple[Any, int]:
        end = self._data.find(b"\r\n", at)
        if end < 0:
            return MORE, at
        kind, line, after = self._data[at : at + 1], bytes(self._data[at + 1 : end]), end + 2
        if kind == b"+":
            return line, after
        if kind == b"-":
            return from_reply(line.decode("utf-8", "replace")), after
        if kind not in b":$*" or not kind:
            raise Garbled(f"a reply begins with {bytes(kind)!r}")
        try:
            number = int(line)
        except ValueError:
            raise Garbled(f"a reply has {line[:40]!r} for a number") from None
        if kind == b":":
            return number, after
        if number < 0:
            return None, after
        if kind == b"$":
            stop = after + number
            return (bytes(self._data[after:stop]), stop + 2) if len(self._data) >= stop + 2 else (MORE, at)
        items = []
        for _ in range(number):
            item, after = self._parse(after)
            if item is MORE:
                return MORE, at
            items.append(item)
        return items, after


def _plain_pack(command: Iterable[Any]) -> bytes:
    words = [word if isinstance(word, bytes) else str(word).encode() for word in command]
    return b"".join([b"*%d\r\n" % len(words), *(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)])


def reader() -> Any:
    """A reader for one connection."""
    if hiredis is None:
        return PlainReader()
    return hiredis.Reader(protocolError=Garbled, replyError=from_reply, notEnoughData=MORE)


pack_one: Callable[[Any], bytes] = _plain_pack if hiredis is None else hiredis.pack_command


def pack(commands: Iterable[Command]) -> bytes:
    """Commands as the server reads them."""
    return b"".join(map(pack_one, commands))
