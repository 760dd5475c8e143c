"""The connection on which a broker publishes, declares and asks."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from umbel_broker_redis.scripts import ALL
from umbel_client_redis import Address, Command, Link
from umbel_kernel.errors import ChannelError, OperationalError, PublishError
from umbel_kernel.spi.message import Message

logger = logging.getLogger("umbel.broker.redis")

_BURST = 0.001
_SUSTAINED = 100
_TAKEN_BY = 16
_MOST = 128
_LARGE = 16_384
_LEAST = 0.05


class Outlet:
    """Sends commands, and keeps the messages whose replies it has not read yet. For several threads.

    A message that comes alone waits for its reply, and so do the first hundred that come within a millisecond of one
    another: a process that publishes some and ends by ``os._exit`` or ``kill -9`` has lost none. In a longer burst the
    replies are read with those of others, after 16 of them, or by whatever is asked next. So a loop that publishes
    thousands one by one does not wait for the server each time, and no more than 128 messages are ever unconfirmed.

    Args:
        address: where the server is.
        waits: whether each message waits for its reply, whenever it comes.
    """

    def __init__(self, address: Address, *, waits: bool) -> None:
        self._link = Link(address, refusal=ChannelError, scripts=ALL)
        self._lock = threading.RLock()
        self._waits = waits
        self._waiting: deque[Message] = deque()
        self._refused: list[Message] = []
        self._lost: list[Message] = []
        self._reason = ""
        self._last = 0.0
        self._streak = 0
        self._doubtful = False

    @property
    def waiting(self) -> bool:
        """Whether messages were posted that are not known to have been taken."""
        return bool(self._waiting or self._refused or self._lost or self._doubtful)

    def connect(self, timeout: float) -> None:
        """See ``Broker.connect``."""
        with self._entered(timeout) as left:
            self._settle(left)
            self._link.connect(left)

    def call(self, commands: Sequence[Command], timeout: float) -> list[Any]:
        """See ``Link.call``. What it finds out of messages posted before is told by the next that publishes."""
        with self._entered(timeout) as left:
            self._settle(left)
            return self._link.call(commands, left)

    def answers(self, commands: Sequence[Command], timeout: float) -> list[Any]:
        """The replies of ``call``; raises when one is a refusal."""
        return [self._link.answer(reply) for reply in self.call(commands, timeout)]

    def answer(self, reply: Any) -> Any:
        """See ``Link.answer``."""
        return self._link.answer(reply)

    def send(self, message: Message, key: bytes, envelope: bytes, timeout: float) -> None:
        """Push one message to a list and wait for the reply.

        Raises:
            PublishError: it was not taken; ``failed`` has those posted before that were not, too.
        """
        with self._entered(timeout, (message,)) as left:
            self._settle(left)
            self._tell((message,))
            try:
                reply = self._link.number(("LPUSH", key), _push(key, envelope), left)
                if type(reply) is not int:
                    self._link.answer(reply)
            except (OperationalError, ChannelError) as error:
                raise PublishError(str(error), (message,)) from error
            except BaseException:
                self._doubtful = True
                raise
            self._last = time.monotonic()

    def post(self, message: Message, key: bytes, envelope: bytes, timeout: float) -> None:
        """Push one message to a list, and wait for the reply unless many come at once.

        Raises:
            PublishError: as for ``send``.
        """
        timeout = self._enter(timeout, (message,))
        try:
            self._streak = self._streak + 1 if time.monotonic() - self._last <= _BURST else 0
            if self._streak < _SUSTAINED or self._waits or self._doubtful or len(envelope) > _LARGE:
                return self.send(message, key, envelope, timeout)
            waiting = self._waiting
            try:
                if not waiting:
                    self._tell((message,))
                    self._link.connect(timeout)
                waiting.append(message)
                self._link.write(("LPUSH", key), _push(key, envelope), timeout)
                if not len(waiting) % _TAKEN_BY:
                    self._took(self._link.pushed())
                    if len(waiting) >= _MOST:
                        self._await(_MOST // 2, timeout)
            except OperationalError as error:
                if isinstance(error, PublishError):
                    raise
                own = () if waiting and waiting[-1] is message else (message,)
                self._end(str(error))
                raise PublishError(str(error), [*self._take_back(), *own]) from error
            except BaseException:
                self._doubtful = True
                raise
            if self._refused:
                self._tell(())
            self._last = time.monotonic()
        finally:
            self._lock.release()

    def settle(self, timeout: float, messages: Sequence[Message] = ()) -> None:
        """Wait for the replies to what was posted.

        Args:
            messages: what was about to be published; it counts as failed, too.

        Raises:
            PublishError: not all were taken.
        """
        if self.waiting:
            with self._entered(timeout, messages) as left:
                self._settle(left)
                self._tell(messages)

    def close(self, timeout: float) -> None:
        """Close when what was posted is taken, or after the timeout. From then on ``post`` waits. Never raises."""
        self._waits = True
        if not self._lock.acquire(timeout=timeout):
            return  # who has it waits for the server; it gives the connection up itself, and names what was not taken
        try:
            self._settle(timeout)
            unsure = self._take_back()
            if unsure:
                logger.warning("%d messages to Redis may be lost: %s", len(unsure), self._reason)
            self._link.close()
        finally:
            self._lock.release()

    def _enter(self, timeout: float, messages: Sequence[Message] = ()) -> float:
        """Take the lock. Returns what is left of the timeout.

        Raises:
            PublishError: another thread has had it for so long, as it waits for the server.
        """
        if self._lock.acquire(blocking=False):
            return timeout
        began = time.monotonic()
        if not self._lock.acquire(timeout=timeout):
            raise PublishError(f"Redis has not answered another thread for {timeout:.1f} s", messages)
        return max(timeout - (time.monotonic() - began), _LEAST)

    @contextmanager
    def _entered(self, timeout: float, messages: Sequence[Message] = ()) -> Iterator[float]:
        """Have the lock, and what is left of the timeout; see ``_enter``."""
        left = self._enter(timeout, messages)
        try:
            yield left
        finally:
            self._lock.release()

    def _settle(self, timeout: float) -> None:
        """Read all replies that are due; those of a connection that breaks meanwhile never come."""
        if self._doubtful:
            self._count_anew(timeout)
        if self._waiting:
            try:
                self._await(0, timeout)
            except OperationalError as error:
                self._end(str(error))

    def _count_anew(self, timeout: float) -> None:
        """Find out whether all was taken after a signal handler raised an error while messages were sent or replies
        read. Some of these may be gone, and nobody knows which is whose; but the server answers in order, and when
        it repeats a word it has had all before."""
        self._doubtful = False
        word = os.urandom(8).hex().encode()
        end = time.monotonic() + timeout
        try:
            self._link.write(("ECHO",), b"*2\r\n$4\r\nECHO\r\n$16\r\n%b\r\n" % word, timeout)
            while (reply := self._link.read(max(_LEAST, end - time.monotonic()))) != word:
                if type(reply) is not int:
                    raise OperationalError(f"Redis refuses one of several messages: {reply}")
        except OperationalError as error:
            self._end(str(error))
        else:
            self._waiting.clear()

    def _await(self, most: int, timeout: float) -> None:
        end = time.monotonic() + timeout
        while len(self._waiting) > most:
            self._took((self._link.read(max(0.001, end - time.monotonic())),))
            self._took(self._link.pushed())

    def _took(self, replies: Iterable[Any]) -> None:
        for reply in replies:
            if not self._waiting:
                raise OperationalError("Redis answers more than it was asked")
            message = self._waiting.popleft()
            if type(reply) is not int:
                self._refused.append(message)
                self._reason = f"Redis refuses: {reply}"

    def _end(self, reason: str) -> None:
        """The connection is gone, and with it all replies."""
        self._reason = reason
        self._lost += self._waiting
        self._waiting.clear()
        self._link.close()

    def _tell(self, messages: Sequence[Message]) -> None:
        """Raise when earlier messages were not taken."""
        failed = self._take_back() if self._refused or self._lost else []
        if failed:
            raise PublishError(f"{len(failed)} messages were not taken: {self._reason}", [*failed, *messages])

    def _take_back(self) -> list[Message]:
        """All that was not taken, or of which nobody knows; they are forgotten here."""
        found = [*self._refused, *self._lost]
        self._refused, self._lost = [], []
        return found


def _push(key: bytes, envelope: bytes) -> bytes:
    """``LPUSH`` of one envelope, as it goes over the wire."""
    return b"*3\r\n$5\r\nLPUSH\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n" % (len(key), key, len(envelope), envelope)
