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
        lost: what an earlier connection had not confirmed when it ended, in the order of sending.
    """

    def __init__(self) -> None:
        self.refused: list[Message] = []
        self.lost: list[Message] = []
        self._waiting: dict[int, Message] = {}
        self._tag = 0
        self._mark = (0, 0.0)

    def __len__(self) -> int:
        """How many wait for their confirm on the present channel."""
        return len(self._waiting)

    def __bool__(self) -> bool:
        return bool(self._waiting or self.refused or self.lost)

    def add(self, messages: Sequence[Message]) -> None:
        """Count these as sent, in this order."""
        waiting = self._waiting
        if not waiting:
            self._mark = (self._tag + 1, time.monotonic())
        for message in messages:
            self._tag += 1
            waiting[self._tag] = message

    def settle(self, tag: int, multiple: bool, taken: bool) -> None:
        """Take a confirm of the server; ``multiple`` stands for all up to ``tag``."""
        waiting = self._waiting
        if not multiple:
            message = waiting.pop(tag, None)
            if message is not None and not taken:
                self.refused.append(message)
            return
        if taken and tag >= self._tag:
            waiting.clear()
            return
        settled: list[int] = []
        for each in waiting:
            if each > tag:
                break
            settled.append(each)
        for each in settled:
            message = waiting.pop(each)
            if not taken:
                self.refused.append(message)

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
        self._tag = 0

    def take_back(self) -> list[Message]:
        """All that was not taken or whose fate is unknown, oldest first; they are forgotten here."""
        found = [*self.refused, *self.lost, *self._waiting.values()]
        self.refused, self.lost, self._waiting = [], [], {}
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
