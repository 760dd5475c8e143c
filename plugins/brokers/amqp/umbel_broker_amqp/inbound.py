"""What the frames of a server mean: messages, confirms, and what else concerns who sends and reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from amqp.exceptions import UnexpectedFrame

from umbel_broker_amqp.content import body_size

_DELIVER = b"\x00\x3c\x00\x3c"
_RETURN = b"\x00\x3c\x00\x32"
_ACK = b"\x00\x3c\x00\x50"
_NACK = b"\x00\x3c\x00\x78"
_CANCEL = b"\x00\x3c\x00\x1e"
_FLOW_OK = b"\x00\x14\x00\x15"
_BLOCKED = b"\x00\x0a\x00\x3c"
_UNBLOCKED = b"\x00\x0a\x00\x3d"
_LARGEST_BODY = 536_870_912

OnContent = Callable[[bytes, bytes, bytes], None]
OnSettled = Callable[[int, bool, bool], None]
Frame = tuple[int, int, bytes]


class Inbound:
    """Takes frames one by one and calls who wants what they say.

    Args:
        on_content: called with the method, header and body of each delivery.
        on_settled: called with tag, ``multiple`` and whether it was taken, for each publisher confirm.
        on_returned: called with the method, header and body of what no queue took.

    Attributes:
        others: takes all other frames.
        cancelled: the tags of consumers whose queue was deleted.
        blocked: why the server takes no messages at present; empty when it does.
        answered: how often the server has answered ``channel.flow``.
    """

    others: Callable[[Frame], Any]

    def __init__(
        self, on_content: OnContent | None, on_settled: OnSettled | None, on_returned: OnContent | None
    ) -> None:
        self._on_content = on_content
        self._on_settled = on_settled
        self._on_returned = on_returned
        self._method = b""
        self._header = b""
        self._parts: list[bytes] = []
        self._missing = -1
        self.cancelled: list[str] = []
        self.blocked = ""
        self.answered = 0

    def on_frame(self, frame: Frame) -> Any:
        """Take the frames of messages and confirms; pass all others to py-amqp."""
        kind, channel, payload = frame
        if channel == 1:
            if kind == 3 and self._missing > 0:
                self._parts.append(payload)
                self._missing -= len(payload)
                return self._complete() if self._missing <= 0 else False
            if kind == 2 and self._method and self._missing < 0:
                self._missing = body_size(payload)
                if self._missing > _LARGEST_BODY:
                    raise UnexpectedFrame(f"a message of {self._missing} bytes; is this AMQP?")
                self._header = payload
                return self._complete() if not self._missing else False
            if kind == 1:
                if self._method:
                    raise UnexpectedFrame("a method in the middle of a message")
                name = payload[:4]
                if name in (_DELIVER, _RETURN):
                    self._method = payload
                    return False
                if name in (_ACK, _NACK) and self._on_settled is not None:
                    self._on_settled(int.from_bytes(payload[4:12], "big"), bool(payload[12] & 1), name == _ACK)
                    return True
                if name == _CANCEL:
                    self.cancelled.append(payload[5 : 5 + payload[4]].decode("utf-8", "replace"))
                    return True
                if name == _FLOW_OK:
                    self.answered += 1
                    return True
        elif channel == 0 and kind == 1:
            name = payload[:4]
            if name == _BLOCKED:
                self.blocked = payload[5 : 5 + payload[4]].decode("utf-8", "replace") or "no reason is given"
                return True
            if name == _UNBLOCKED:
                self.blocked = ""
                return True
        return self.others(frame)

    def _complete(self) -> bool:
        method, self._method = self._method, b""
        if self._missing:
            raise UnexpectedFrame("a message is longer than it says")
        self._missing = -1
        body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self._parts = []
        taker = self._on_content if method.startswith(_DELIVER) else self._on_returned
        if taker is not None:
            taker(method, self._header, body)
        return True
