"""What was sent and is not yet confirmed."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

from umbel_kernel.spi.message import Message

_EXCHANGE = re.compile(r"exchange '([^']*)'")


class Unconfirmed:
    """Messages by their delivery tags, which count the publishes of one channel from 1.

    Source: https://www.rabbitmq.com/docs/confirms

    Attributes:
        refused: what the server gave back with ``basic.nack``.
        homeless: what was for a queue that is not there.
        lost: what an earlier connection had not confirmed when it ended, in the order of sending.
        size: bytes of the bodies that wait for their confirm.
    """

    def __init__(self) -> None:
        self.refused: list[Message] = []
        self.lost: list[Message] = []
        self.homeless: list[Message] = []
        self.size = 0
        self._waiting: dict[int, Message] = {}
        self._tag = 0
        self._mark = (0, 0.0)

    def __len__(self) -> int:
        """How many wait for their confirm on the present channel."""
        return len(self._waiting)

    def __bool__(self) -> bool:
        return bool(self._waiting or self.refused or self.lost or self.homeless)

    def add(self, messages: Sequence[Message]) -> None:
        """Count these as sent, in this order."""
        waiting = self._waiting
        if not waiting:
            self._mark = (self._tag + 1, time.monotonic())
        for message in messages:
            self._tag += 1
            self.size += len(message.body)
            waiting[self._tag] = message

    def settle(self, tag: int, multiple: bool, taken: bool) -> None:
        """Take a confirm of the server; ``multiple`` stands for all up to ``tag``."""
        waiting = self._waiting
        if not multiple:
            message = waiting.pop(tag, None)
            if message is not None:
                self.size -= len(message.body)
                if not taken:
                    self.refused.append(message)
            return
        if taken and tag >= self._tag:
            waiting.clear()
            self.size = 0
            return
        settled: list[int] = []
        for each in waiting:
            if each > tag:
                break
            settled.append(each)
        for each in settled:
            message = waiting.pop(each)
            self.size -= len(message.body)
            if not taken:
                self.refused.append(message)

    def returned(self, method: bytes, header: bytes, body: bytes) -> None:
        """Take a ``basic.return``, which comes before the confirm of the same message."""
        at = 7 + method[6]
        at += 1 + method[at]
        key = method[at + 1 : at + 1 + method[at]].decode("utf-8", "replace")
        for tag, message in self._waiting.items():
            if not message.exchange and message.routing_key == key and message.body == body:
                del self._waiting[tag]
                self.size -= len(body)
                self.homeless.append(message)
                return

    def overdue(self, timeout: float) -> bool:
        """Whether the oldest has waited for longer than ``timeout`` seconds; noticed within twice that time.

        Only one moment is kept: which tag was the last to be sent by then.
        """
        tag, moment = self._mark
        if not self._waiting:
            return False
        now = time.monotonic()
        if now - moment <= timeout:
            return False
        if next(iter(self._waiting)) <= tag:
            return True
        self._mark = (self._tag, now)
        return False

    def end(self) -> None:
        """The channel is gone: nobody knows of these any more, and tags count from 1 again."""
        self.lost += self._waiting.values()
        self._waiting = {}
        self.size = 0
        self._tag = 0

    def take_back(self) -> list[Message]:
        """All that was not taken or whose fate is unknown, oldest first; they are forgotten here."""
        found = [*self.refused, *self.homeless, *self.lost, *self._waiting.values()]
        self.refused, self.homeless, self.lost, self._waiting, self.size = [], [], [], {}, 0
        return found


def split_by_fault(messages: Sequence[Message], fault: str) -> tuple[list[Message], list[Message]]:
    """The messages that a server's word does not concern, and those for the exchange that it names.

    Args:
        fault: why the server closed the channel, such as ``NOT_FOUND - no exchange 'name' in vhost '/'``.
    """
    named = _EXCHANGE.search(fault)
    if named is None:
        return list(messages), []
    return (
        [message for message in messages if message.exchange != named[1]],
        [message for message in messages if message.exchange == named[1]],
    )
