"""The connection on which a broker publishes, declares and asks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from umbel_broker_amqp.address import Address
from umbel_broker_amqp.content import pack
from umbel_broker_amqp.session import Session
from umbel_broker_amqp.unconfirmed import Unconfirmed, split_by_fault
from umbel_kernel.errors import ChannelError, EncodeError, OperationalError, PublishError
from umbel_kernel.spi.message import Message

logger = logging.getLogger("umbel.broker.amqp")


class Outlet:
    """Sends messages and keeps those that are not yet confirmed. For several threads.

    Args:
        address: where the server is.
        confirms: True: ``post`` waits as ``publish`` does; None: it does not; False: the server does not confirm.
        window: how many may be unconfirmed when ``post`` returns.
    """

    def __init__(self, address: Address, *, confirms: bool | None, window: int) -> None:
        self.lock = threading.RLock()
        self._address = address
        self._confirms = confirms is not False
        self._waits = confirms is True
        self._window = window
        self._session: Session | None = None
        self._unconfirmed = Unconfirmed()
        self._exchanges: set[str] = set()

    @property
    def alive(self) -> bool:
        """Whether there is a connection and nothing is known against it."""
        return self._session is not None and self._session.alive

    def connect(self, timeout: float) -> None:
        """See ``Broker.connect``."""
        with self.lock:
            self._open(timeout)

    def publish(self, messages: Sequence[Message], timeout: float) -> None:
        """See ``AmqpBroker.publish``."""
        with self.lock:
            end = time.monotonic() + timeout
            faulty: list[Message] = []
            cause: Exception | None = None
            todo = messages
            while True:
                try:
                    self._send(todo, timeout)
                    self._await(0, end, timeout)
                    failed = self._unconfirmed.take_back()
                except ChannelError as error:
                    cause = error
                    failed, named = split_by_fault(self._give_up(), str(error))
                    faulty += named
                    if failed and named and time.monotonic() < end:
                        todo = failed
                        continue
                    if len(failed) > 1:
                        failed = self._singly(failed, end)
                except OperationalError as error:
                    cause = error
                    failed = self._give_up()
                break
            failed += faulty
            if failed:
                said = cause or f"AMQP at {self._address.shown} refused them"
                raise PublishError(
                    f"{len(failed)} messages were not taken: {said}", failed, max(0, len(messages) - len(failed))
                ) from cause
            self._exchanges.update(message.exchange for message in messages)

    def post(self, messages: Sequence[Message], timeout: float) -> None:
        """See ``AmqpBroker.post``."""
        with self.lock:
            if self._waits:
                return self.publish(messages, timeout)
            for message in messages:
                if message.exchange and message.exchange not in self._exchanges:
                    return self.publish(messages, timeout)
            unconfirmed = self._unconfirmed
            try:
                self._send(messages, timeout)
                if len(unconfirmed) > self._window:
                    self._await(self._window // 2, time.monotonic() + timeout, timeout)
            except ChannelError as error:
                new = {id(message) for message in messages}
                earlier = [message for message in self._give_up() if id(message) not in new]
                unconfirmed.lost, faulty = split_by_fault(earlier, str(error))
                raise ChannelError(f"{error}; {len(faulty)} messages posted before are given up") from error
            except OperationalError as error:
                failed = self._give_up()
                raise PublishError(f"{len(failed)} messages are not confirmed: {error}", failed) from error
            if unconfirmed.refused:
                self.publish((), timeout)

    def flush(self, timeout: float) -> None:
        """See ``Broker.flush``."""
        with self.lock:
            if self._unconfirmed:
                self.publish((), timeout)

    def close(self, timeout: float) -> None:
        """Close when what was posted is confirmed, or after the timeout. From then on ``post`` waits. Never raises."""
        with self.lock:
            self._waits = True
            session, self._session = self._session, None
            if session is not None:
                try:
                    if session.alive:
                        self._await(0, time.monotonic() + timeout, timeout, session)
                except (OperationalError, ChannelError) as error:
                    logger.warning("closing a connection before its messages were confirmed: %s", error)
                session.close(timeout)
            unsure = self._unconfirmed.take_back()
            if unsure:
                logger.warning("%d messages to AMQP at %s may be lost", len(unsure), self._address.shown)
            self._unconfirmed.end()

    @contextmanager
    def side(self, timeout: float) -> Iterator[Any]:
        """py-amqp's channel for declaring and asking, once what was sent before is confirmed."""
        with self.lock:
            session = self._open(timeout)
            if len(self._unconfirmed):
                try:
                    self._await(0, time.monotonic() + timeout, timeout)
                except (OperationalError, ChannelError):
                    self._drop()
                    session = self._open(timeout)
            session.within(timeout)
            channel = session.side()
            try:
                with session.errors():
                    yield channel
            except OperationalError:
                self._drop()
                raise

    def _send(self, messages: Sequence[Message], timeout: float) -> None:
        """Write these. When that fails they are in ``lost``, after those sent before, and there is no session."""
        unconfirmed = self._unconfirmed
        sent = False
        try:
            session = self._open(timeout, telling=True)
            if unconfirmed.lost:
                raise OperationalError(f"the connection to AMQP at {self._address.shown} was lost")
            if unconfirmed.overdue(timeout):
                raise OperationalError(f"no confirmation from AMQP at {self._address.shown} within {timeout:g} s")
            if not messages:
                return
            data = _pack(messages, session)
            if self._confirms:
                unconfirmed.add(messages)
                sent = True
            session.write(data, timeout)
        except (OperationalError, ChannelError):
            self._drop()
            if not sent:
                unconfirmed.lost += messages
            raise

    def _await(self, most: int, end: float, timeout: float, session: Session | None = None) -> None:
        """Wait until no more than ``most`` are unconfirmed."""
        session = session or self._session
        while session is not None and len(self._unconfirmed) > most:
            left = end - time.monotonic()
            if left <= 0:
                raise OperationalError(f"no confirmation from AMQP at {self._address.shown} within {timeout:g} s")
            if session.wait(left):
                session.read()

    def _singly(self, messages: Sequence[Message], end: float) -> list[Message]:
        """Publish one at a time, because nobody knows which of them the server refuses. Returns what was not taken."""
        failed: list[Message] = []
        for message in messages:
            left = end - time.monotonic()
            try:
                if left <= 0:
                    raise PublishError("no time is left", [message])
                self.publish([message], left)
            except PublishError as error:
                failed += error.failed
        return failed

    def _open(self, timeout: float, *, telling: bool = False) -> Session:
        """The session, a new one when the old one has died unnoticed.

        Args:
            telling: whether to raise when the old one has ended with messages unconfirmed, and the ChannelError with
                which the server has ended it.
        """
        session = self._session
        if session is not None:
            try:
                if session.alive:
                    session.take()
                    return session
            except ChannelError:
                if telling and self._confirms:
                    raise
            except OperationalError as error:
                logger.debug("connecting again: %s", error)
            self._drop()
        if telling and self._unconfirmed.lost:
            raise OperationalError(f"the connection to AMQP at {self._address.shown} was lost")
        session = Session(self._address, timeout=timeout, on_settled=self._unconfirmed.settle)
        if self._confirms:
            with session.errors():
                session.channel.confirm_select()
        self._exchanges.clear()
        self._session = session
        return session

    def _drop(self) -> None:
        session, self._session = self._session, None
        self._unconfirmed.end()
        if session is not None:
            session.abandon()

    def _give_up(self) -> list[Message]:
        """Drop the connection; returns what was not taken or may not have been."""
        self._drop()
        return self._unconfirmed.take_back()


def _pack(messages: Sequence[Message], session: Session) -> bytes:
    number, frame_max = session.number, session.frame_max
    data: list[bytes] = []
    for message in messages:
        try:
            data.append(pack(message, number, frame_max))
        except (ValueError, TypeError, OverflowError) as error:
            raise EncodeError(f"a message for {message.routing_key!r} cannot be sent: {error}") from error
    return data[0] if len(data) == 1 else b"".join(data)
