"""Messages as AMQP 0-9-1 content: the frames of a publish, and a delivery out of its frames."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct, error
from typing import Any

from umbel_broker_amqp.table import pack_table, short, unpack_table
from umbel_kernel.spi.message import Delivery, Message

_FRAME_MIN = 4096  # what every server and client has to take
FRAME = Struct(">BHI")
END = b"\xce"
_HEADER = Struct(">HHQH")
_TAG = Struct(">QB")
(
    TYPE,
    ENCODING,
    HEADERS,
    MODE,
    PRIORITY,
    CORRELATION,
    REPLY,
    _EXPIRES,
    _ID,
    _TIME,
    _KIND,
    _USER,
    _APP,
    _CLUSTER,
) = (1 << bit for bit in range(15, 1, -1))
_NAMED = (("message_id", _ID), ("timestamp", _TIME), ("type", _KIND), ("user_id", _USER), ("app_id", _APP))


@lru_cache(maxsize=1024)
def method_frame(channel: int, exchange: str, routing_key: str) -> bytes:
    """The first frame of a ``basic.publish``. What goes straight to a queue is mandatory: it comes back where there is
    no such queue."""
    data = b"\x00\x3c\x00\x28\x00\x00" + short(exchange) + short(routing_key) + (b"\x00" if exchange else b"\x01")
    return FRAME.pack(1, channel, len(data)) + data + END


def properties(message: Message) -> tuple[int, bytes, bytes, bytes, bytes]:
    """The flags of a message's properties, and the properties: those before the headers, those between them and the
    correlation id, the correlation id, and those after it.

    Raises:
        ValueError: one does not fit.
    """
    flags = TYPE | ENCODING | HEADERS | MODE | PRIORITY
    before = short(message.content_type) + short(message.content_encoding)
    mode = bytes((message.delivery_mode, max(0, min(255, int(message.priority or 0)))))
    identity = b""
    if message.correlation_id is not None:
        flags |= CORRELATION
        data = message.correlation_id.encode()
        if len(data) > 255:
            raise ValueError(f"the correlation id {message.correlation_id[:40]!r}... is longer than 255 bytes")
        identity = bytes((len(data),)) + data
    after = b""
    if message.reply_to is not None:
        flags |= REPLY
        after += short(message.reply_to)
    if message.expiration is not None:
        flags |= _EXPIRES
        after += short(str(int(message.expiration * 1000)))
    if message.properties:
        for name, flag in _NAMED:
            value = message.properties.get(name)
            if value is not None:
                flags |= flag
                after += int(value).to_bytes(8, "big") if flag == _TIME else short(str(value))
    return flags, before, mode, identity, after


def check_fits(length: int, frame_max: int) -> None:
    """Check that a content header fits into its one frame, since the server ends the connection for one that does not.

    Raises:
        ValueError: it does not.
    """
    room = max(frame_max, _FRAME_MIN) - 8
    if length > room:
        raise ValueError(f"its headers and properties have {length} bytes; {room} are allowed by frame_max")


def pack(message: Message, channel: int, frame_max: int) -> bytes:
    """The frames of a ``basic.publish``.

    Raises:
        ValueError: a property or header does not fit.
    """
    flags, before, mode, identity, after = properties(message)
    body = message.body
    header = b"".join(
        (_HEADER.pack(60, 0, len(body), flags), before, pack_table(message.headers), mode, identity, after)
    )
    check_fits(len(header), frame_max)
    frames = [
        method_frame(channel, message.exchange, message.routing_key),
        FRAME.pack(2, channel, len(header)),
        header,
        END,
    ]
    room = frame_max - 8
    for start in range(0, len(body), room):
        part = body if len(body) <= room else body[start : start + room]
        frames += (FRAME.pack(3, channel, len(part)), part, END)
    return b"".join(frames)


def body_size(header: bytes) -> int:
    """The length of the body that a content header announces."""
    return int.from_bytes(header[4:12], "big")


def unpack(method: bytes, header: bytes, body: bytes, queues: dict[str, str]) -> Delivery:
    """A delivery out of a ``basic.deliver``, its content header and its body. Its ``tag`` is the delivery tag.

    What cannot be read in the header is left out: such a message has no content type.

    Args:
        queues: the queue of each consumer tag.
    """
    at = 5 + method[4]
    consumer = method[5:at].decode("utf-8", "replace")
    tag, again = _TAG.unpack_from(method, at)
    at += 9
    stop = at + 1 + method[at]
    exchange = method[at + 1 : stop].decode("utf-8", "replace")
    routing_key = method[stop + 1 : stop + 1 + method[stop]].decode("utf-8", "replace")
    queue = queues.get(consumer, "")
    delivery = Delivery(
        body=body, queue=queue, tag=tag, routing_key=routing_key, exchange=exchange, redelivered=bool(again & 1)
    )
    try:
        _properties(delivery, header)
    except (ValueError, error, IndexError, OverflowError, ArithmeticError):
        delivery.content_type = delivery.content_encoding = ""
        delivery.headers = {}
        delivery.properties = {}
    return delivery


def _properties(delivery: Delivery, header: bytes) -> None:
    (flags,) = Struct(">H").unpack_from(header, 12)
    at = 14
    properties: dict[str, Any] = delivery.properties

    def text() -> str:
        nonlocal at
        start, at = at + 1, at + 1 + header[at]
        return header[start:at].decode("utf-8")

    if flags & TYPE:
        delivery.content_type = text()
    if flags & ENCODING:
        delivery.content_encoding = text()
    if flags & HEADERS:
        delivery.headers = unpack_table(header, at)
        at += 4 + int.from_bytes(header[at : at + 4], "big")
    if flags & MODE:
        properties["delivery_mode"] = header[at]
        at += 1
    if flags & PRIORITY:
        delivery.priority = header[at]
        at += 1
    if flags & CORRELATION:
        delivery.correlation_id = text()
    if flags & REPLY:
        delivery.reply_to = text()
    if flags & _EXPIRES:
        properties["expiration"] = text()
    if flags & _ID:
        properties["message_id"] = text()
    if flags & _TIME:
        properties["timestamp"] = int.from_bytes(header[at : at + 8], "big")
        at += 8
    for name, flag in (("type", _KIND), ("user_id", _USER), ("app_id", _APP), ("cluster_id", _CLUSTER)):
        if flags & flag:
            properties[name] = text()
