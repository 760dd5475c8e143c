"""The connection on which a broker publishes, declares and asks."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from umbel_broker_amqp.address import Address
from umbel_broker_amqp.content import pack
from umbel_broker_amqp.gathered import Gathered
from umbel_broker_amqp.session import Session
from umbel_broker_amqp.template import Template
from umbel_broker_amqp.unconfirmed import Unconfirmed, split_by_fault
from umbel_kernel.errors import ChannelError, EncodeError, OperationalError, PublishError
from umbel_kernel.spi.message import Form, Message

logger = logging.getLogger("umbel.broker.amqp")

_MOST_TEMPLATES = 512
_LARGEST_WINDOW = 32 * 1024 * 1024
_LOOK_AFTER = 0.02
_LOOK_EACH = 32
_WARY = 500
_WARY_FOR = 15.0
_LEAST = 0.05
_BURST = 0.001
_LULL = 0.02
_SUSTAINED = 100
_CLOSE = 0.0003
_DOUBT = 1.0

_ended: dict[str, float] = {}
"""When a connection last ended with messages unconfirmed, by its address. An outlet that fails is replaced."""

House = Callable[[Sequence[Message], float], list[Message]]


class Outlet:
    """Sends messages and keeps those that are not yet confirmed. For several threads.

    A server that finds its client gone, because it has a confirm to send, drops what it has not read of it. So a post
    that comes alone waits until the server has taken the message, which is sooner than its confirm, for that tells of
    the disk. So do the first hundred that come within a millisecond of one another: a process that posts some and ends
    by ``os._exit`` or ``kill -9`` has lost none. Those that follow in a longer burst do not wait, and some are written
    together: the last of them a few milliseconds later.

    Args:
        address: where the server is.
        confirms: True: ``post`` waits as ``publish`` does; None: it does not; False: the server does not confirm.
        window: how many may be unconfirmed when ``post`` returns; their bodies may be 32 MiB together. After a
            connection has ended with some unconfirmed, which are sent again, it is no more than 500 for 15 seconds.
        house: makes the queues anew that messages were for and that are not there, and returns the messages that can
            be sent again.

    Attributes:
        epoch: changes with each new connection.
    """

    def __init__(self, address: Address, *, confirms: bool | None, window: int, house: House) -> None:
        self.lock = threading.RLock()
        self._address = address
        self._confirms = confirms is not False
        self._waits = confirms is True
        self._window = self._room = window
        self._house = house
        self._session: Session | None = None
        self._unconfirmed = Unconfirmed()
        self._exchanges: set[str] = set()
        self._templates: dict[Form, Template | None] = {}
        self._unseen = 0
        self._looked = 0.0
        self._streak = 0
        self._last = 0.0
        self._doubtful = False
        self._gathered = Gathered(self._write_soon)
        self._patience = 0.0
        self.epoch = 0

    @property
    def waiting(self) -> bool:
        """Whether messages were posted that are not known to have been taken."""
        return bool(self._unconfirmed)

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
        timeout = self._enter(messages, timeout)
        try:
            end = time.monotonic() + timeout
            faulty: list[Message] = []
            housed = False
            cause: Exception | None = None
            todo = messages
            while True:
                try:
                    self._clear_the_way(todo, end, timeout)
                    self._send(todo, timeout)
                    self._await(0, end, timeout)
                    if self._unconfirmed.homeless and not housed:
                        housed = True
                        homeless, self._unconfirmed.homeless = self._unconfirmed.homeless, []
                        todo = self._house(homeless, max(0.1, end - time.monotonic()))
                        if todo:
                            continue
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
        finally:
            self.lock.release()

    def post(self, messages: Sequence[Message], timeout: float) -> None:
        """See ``AmqpBroker.post``."""
        timeout = self._enter(messages, timeout)
        try:
            if self._waits:
                return self.publish(messages, timeout)
            for message in messages:
                if message.exchange and message.exchange not in self._exchanges:
                    return self.publish(messages, timeout)
            unconfirmed = self._unconfirmed
            pause = time.monotonic() - self._last
            bursts = self._confirms and self._is_in_burst(pause)
            asks, gathers = self._confirms and not bursts, bursts and pause <= _CLOSE
            try:
                self._send(messages, timeout, look=self._is_due(len(messages)), asks=asks, gathers=gathers)
                if asks:
                    self._await_arrival(time.monotonic() + timeout, timeout)
                if len(unconfirmed) > self._room:
                    self._await(self._room - self._room // 16, time.monotonic() + timeout, timeout)
                if unconfirmed.size > _LARGEST_WINDOW:
                    self._await(0, time.monotonic() + timeout, timeout)
            except ChannelError as error:
                new = {id(message) for message in messages}
                earlier = [message for message in self._give_up() if id(message) not in new]
                unconfirmed.lost, faulty = split_by_fault(earlier, str(error))
                raise ChannelError(f"{error}; {len(faulty)} messages posted before are given up") from error
            except OperationalError as error:
                failed = self._give_up()
                raise PublishError(f"{len(failed)} messages are not confirmed: {error}", failed) from error
            if unconfirmed.refused or unconfirmed.homeless:
                self.publish((), timeout)
            self._last = time.monotonic()
        finally:
            self.lock.release()

    def flush(self, timeout: float) -> None:
        """See ``Broker.flush``."""
        if self._unconfirmed:
            self.publish((), timeout)

    def _enter(self, messages: Sequence[Message], timeout: float) -> float:
        """Take the lock. Returns what is left of the timeout.

        Raises:
            PublishError: another thread has had it for so long, as it waits for the server.
        """
        if self.lock.acquire(blocking=False):
            return timeout
        began = time.monotonic()
        if not self.lock.acquire(timeout=timeout):
            raise PublishError(
                f"AMQP at {self._address.shown} has not answered another thread for {timeout:.1f} s", messages
            )
        return max(timeout - (time.monotonic() - began), _LEAST)

    def close(self, timeout: float) -> None:
        """Close when what was posted is confirmed, or after the timeout. From then on ``post`` waits. Never raises."""
        self._waits = True
        if not self.lock.acquire(timeout=timeout):
            # Who has it waits for the server; it gives the connection up itself, and names what was not taken.
            return
        try:
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
        finally:
            self.lock.release()

    @contextmanager
    def side(self, timeout: float) -> Iterator[Any]:
        """py-amqp's channel for declaring and asking, once what was sent before is confirmed."""
        timeout = self._enter((), timeout)
        try:
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
        finally:
            self.lock.release()

    def _is_in_burst(self, pause: float) -> bool:
        """Whether so many posts have followed one another, this one after so many seconds, that it does not wait. A
        lull, in which this process had to let others run, does not end a burst."""
        if pause <= _BURST:
            self._streak += 1
        elif pause > _LULL:
            self._streak = 0
        return self._streak >= _SUSTAINED

    def _is_due(self, count: int) -> bool:
        """Whether it is time to see what the server has sent: a look costs as much as a message, and finds as well the
        confirms of many."""
        now = time.monotonic()
        self._unseen += count
        if self._unseen < _LOOK_EACH and now - self._looked < _LOOK_AFTER:
            return False
        self._unseen, self._looked = 0, now
        wary = now - _ended.get(self._address.shown, -_WARY_FOR) < _WARY_FOR
        self._room = min(self._window, _WARY) if wary else self._window
        return True

    def _send(
        self,
        messages: Sequence[Message],
        timeout: float,
        *,
        look: bool = True,
        asks: bool = False,
        gathers: bool = False,
    ) -> None:
        """Write these. When that fails they are in ``lost``, after those sent before, and there is no session.

        Args:
            look: whether to take what the server has sent, which may be the end of the connection.
            asks: whether the server is to answer when it has taken them.
            gathers: whether they may be written with the next ones.
        """
        if self._doubtful:
            self._find_out(timeout)
        unconfirmed = self._unconfirmed
        session = self._session
        sent = False
        try:
            if look or session is None or not session.alive:
                session = self._open(timeout, telling=True)
            if unconfirmed.lost:
                raise OperationalError(f"the connection to AMQP at {self._address.shown} was lost")
            if unconfirmed.overdue(timeout):
                raise self._unanswered(session, timeout)
            if not messages:
                return
            data = self._pack(messages, session)
            if self._confirms:
                unconfirmed.add(messages)
                sent = True
            if gathers:
                self._patience = timeout
                if not self._gathered.add(data):
                    return
                data = self._gathered.take()
            elif self._gathered:
                data = self._gathered.take() + data
            session.write(session.asking(data) if asks else data, timeout)
        except (OperationalError, ChannelError):
            self._drop()
            if not sent:
                unconfirmed.lost += messages
            raise
        except BaseException:
            # Ctrl-C or a time limit: nobody knows what of it was written.
            self._doubtful = True
            raise

    def _find_out(self, timeout: float) -> None:
        """After an interruption: wait for confirms as long as they come, and go on with another connection. What is not
        confirmed by then was not written, or in part."""
        end = time.monotonic() + timeout
        session, unconfirmed = self._session, self._unconfirmed
        try:
            while session is not None and len(unconfirmed):
                if not session.wait(min(_DOUBT, max(0.0, end - time.monotonic()))):
                    break
                session.read()
        except (OperationalError, ChannelError) as error:
            logger.debug("what was written before an interruption is not confirmed: %s", error)
        self._drop()
        self._doubtful = False

    def _write_gathered(self, session: Session) -> None:
        if self._gathered and not self._doubtful:
            session.write(self._gathered.take(), self._patience)

    def _write_soon(self) -> None:
        """Write what was gathered unless somebody is posting, who does. A failure is told to who comes next."""
        if self.lock.acquire(blocking=False):
            try:
                if self._session is not None:
                    self._write_gathered(self._session)
            except (OperationalError, ChannelError) as error:
                logger.debug("messages of a burst could not be written: %s", error)
                self._drop()
            finally:
                self.lock.release()

    def _clear_the_way(self, messages: Sequence[Message], end: float, timeout: float) -> None:
        """Have all confirmed before the first message to an exchange: if that is missing, the channel is closed, and
        nobody would know of what was sent before. Fails as ``_send`` does."""
        if len(self._unconfirmed) and any(m.exchange and m.exchange not in self._exchanges for m in messages):
            try:
                self._await(0, end, timeout)
            except (OperationalError, ChannelError):
                self._drop()
                self._unconfirmed.lost += messages
                raise

    def _await(self, most: int, end: float, timeout: float, session: Session | None = None) -> None:
        """Wait until no more than ``most`` are unconfirmed."""
        self._read_until(lambda _: len(self._unconfirmed) <= most, session or self._session, end, timeout)

    def _await_arrival(self, end: float, timeout: float) -> None:
        """Wait until the server has taken all that it was asked about."""
        self._read_until(lambda session: not self._unconfirmed or session.answered, self._session, end, timeout)

    def _read_until(
        self, holds: Callable[[Session], bool], session: Session | None, end: float, timeout: float
    ) -> None:
        if session is not None:
            self._write_gathered(session)
        while session is not None and not holds(session):
            left = end - time.monotonic()
            if left <= 0:
                raise self._unanswered(session, timeout)
            if session.wait(left):
                session.read()

    def _unanswered(self, session: Session, timeout: float) -> OperationalError:
        why = f": the server takes no messages: {session.blocked}" if session.blocked else ""
        return OperationalError(f"no confirmation from AMQP at {self._address.shown} within {timeout:g} s{why}")

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
        unconfirmed = self._unconfirmed
        session = Session(
            self._address, timeout=timeout, on_settled=unconfirmed.settle, on_returned=unconfirmed.returned
        )
        if self._confirms:
            with session.errors():
                session.channel.confirm_select()
        self._exchanges.clear()
        self._session = session
        self.epoch += 1
        return session

    def _drop(self) -> None:
        session, self._session = self._session, None
        if len(self._unconfirmed):
            _ended[self._address.shown] = time.monotonic()
        self._unconfirmed.end()
        self._gathered.take()
        if session is not None:
            session.abandon()

    def _give_up(self) -> list[Message]:
        """Drop the connection; returns what was not taken or may not have been."""
        self._drop()
        return self._unconfirmed.take_back()

    def _pack(self, messages: Sequence[Message], session: Session) -> bytes:
        number, frame_max = session.number, session.frame_max
        data: list[bytes] = []
        for message in messages:
            try:
                template = self._template(message, number) if message.form is not None else None
                frames = template.frames(message, frame_max) if template is not None else None
                data.append(frames if frames is not None else pack(message, number, frame_max))
            except (ValueError, TypeError, OverflowError) as error:
                raise EncodeError(f"a message for {message.routing_key!r} cannot be sent: {error}") from error
        return data[0] if len(data) == 1 else b"".join(data)

    def _template(self, message: Message, channel: int) -> Template | None:
        """The template of the message's form; None for the first message of a form, which may be the only one."""
        form = message.form
        assert form is not None
        found = self._templates.get(form)
        if found is None or found.channel != channel:
            if form not in self._templates:
                if len(self._templates) >= _MOST_TEMPLATES:
                    self._templates.clear()
                self._templates[form] = None
                return None
            found = self._templates[form] = Template(message, channel)
        return found
