"""One connection to Redis: commands go in batches, every batch has a deadline, errors are ours."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from umbel_client_redis.address import Address
from umbel_client_redis.errors import Garbled, LoginRefused, NoScript, RedisError, ReplyError
from umbel_client_redis.resp import Command
from umbel_client_redis.script import Script
from umbel_client_redis.trouble import Refused, is_no_master, refused, unreachable
from umbel_client_redis.wire import Wire
from umbel_kernel.errors import OperationalError, UmbelError

_MOST_OWED = 64
Broken = (RedisError, OSError)


class Link:
    """A kept connection. ``call`` may be used from several threads; the others belong to whoever reads from it.

    Args:
        address: where the server is.
        scripts: what is run here; they are loaded once connected, and again when the server has forgotten them.
        kept: whether what was agreed with the server is tied to this one connection, so that a lost one stays lost.
        refusal: what ``answer`` raises for a command that the server refuses.
    """

    def __init__(
        self, address: Address, *, refusal: type[UmbelError], scripts: Sequence[Script] = (), kept: bool = False
    ) -> None:
        self._address = address
        self._refusal = refusal
        self._scripts = scripts
        self._kept = kept
        self._opened = False
        self._lock = threading.Lock()
        self._wire: Wire | None = None
        self._owed: list[Command] = []
        self._sent: Command = ()

    @property
    def connected(self) -> bool:
        """Whether it was connected and has not failed since."""
        return self._wire is not None

    def connect(self, timeout: float) -> None:
        """Reach the server; does nothing when connected.

        Raises:
            OperationalError: it cannot be reached or refuses us.
        """
        with self._lock:
            self._open(timeout)

    def call(self, commands: Sequence[Command], timeout: float) -> list[Any]:
        """Send a batch in one write and return the replies in order; a refusal stands among them as an exception.

        Connects when need be, and again when the server had closed the idle connection.

        Raises:
            OperationalError: the connection broke or the answer did not come within ``timeout`` seconds. The attribute
                ``replies`` has those that came.
        """
        with self._lock:
            wire = self._open(timeout)
            replies = self._exchange(wire, commands, timeout)
            if any(isinstance(reply, NoScript) for reply in replies):
                self._exchange(wire, [("SCRIPT", "LOAD", script.text) for script in self._scripts], timeout)
                again = [n for n, reply in enumerate(replies) if isinstance(reply, NoScript)]
                for n, reply in zip(again, self._exchange(wire, [commands[n] for n in again], timeout), strict=True):
                    replies[n] = reply
            return replies

    def cast(self, commands: Sequence[Command], timeout: float) -> None:
        """Send a batch and leave its replies to the next ``call``, which raises what ``answer`` would of them. None of
        them may run a script. For a connection that is ``kept``, since another would never see the replies.

        Raises:
            OperationalError: the connection broke.
        """
        with self._lock:
            wire = self._open(timeout)
            if len(self._owed) > _MOST_OWED:
                self._exchange(wire, (), timeout)
            try:
                wire.within(timeout)
                wire.send(commands)
            except Broken as error:
                raise self._lost(error) from error
            except BaseException:
                self.close()
                raise
            self._owed += commands

    def number(self, command: Command, written: bytes, timeout: float) -> Any:
        """Send one command that a number answers, and return the number; a refusal is returned as an exception.

        Args:
            command: its name and key, for the words of a refusal.
            written: the command as the server reads it.

        Raises:
            OperationalError: as for ``call``.
        """
        with self._lock:
            wire = self._open(timeout)
            if self._owed:
                self._exchange(wire, (), timeout)
            try:
                wire.within(timeout)
                wire.write(written)
                reply = wire.read()
            except Broken as error:
                raise self._lost(error) from error
            except BaseException:
                self.close()
                raise
            return self._heard(reply, command) if isinstance(reply, RedisError) else reply

    def write(self, command: Command, written: bytes, timeout: float) -> None:
        """Like ``send``, for a command that is also given as the server reads it; see ``number``.

        Raises:
            OperationalError: the connection is lost.
        """
        with self._lock:
            wire = self._wire or self._open(timeout)
            self._sent = command
            try:
                wire.within(timeout)
                wire.write(written)
            except Broken as error:
                raise self._lost(error) from error

    def answer(self, reply: Any) -> Any:
        """A reply that is no refusal.

        Raises:
            UmbelError: of the kind given as ``refusal``: the server refused the command.
            OperationalError: it refused because of its own state, which may pass; its memory is full, for example.
        """
        if isinstance(reply, RedisError):
            kind = OperationalError if isinstance(reply, Refused) and reply.passes else self._refusal
            raise kind(f"Redis refuses: {reply}") from reply
        return reply

    def ask(self, *command: Any, timeout: float) -> Any:
        """Send one command and return its reply.

        Raises:
            UmbelError: as for ``answer``.
            OperationalError: as for ``call`` and ``answer``.
        """
        return self.answer(self.call([command], timeout)[0])

    def send(self, *command: Any, timeout: float) -> None:
        """Send one command and leave the reply to ``read``.

        Raises:
            OperationalError: the connection is lost.
        """
        self.send_all([command], timeout=timeout)

    def send_all(self, commands: Sequence[Command], *, timeout: float) -> None:
        """Send commands in one write and leave the replies to ``read`` and ``pushed``.

        Raises:
            OperationalError: the connection is lost.
        """
        wire = self._wire or self._open(timeout)
        self._sent = commands[-1]
        try:
            wire.within(timeout)
            wire.send(commands)
        except Broken as error:
            raise self._lost(error) from error

    def read(self, timeout: float) -> Any:
        """The next reply or pushed message.

        Raises:
            OperationalError: the connection broke, or none came within ``timeout`` seconds.
        """
        wire = self._wire
        if wire is None:
            raise OperationalError(f"the connection to {self._address.shown} is closed; connect again")
        try:
            wire.within(timeout)
            reply = wire.read()
        except Broken as error:
            raise self._lost(error) from error
        return self._heard(reply) if isinstance(reply, RedisError) else reply

    def pushed(self) -> list[Any]:
        """All replies and pushed messages that have come, without waiting.

        Raises:
            OperationalError: the connection broke.
        """
        wire = self._wire
        if wire is None:
            raise OperationalError(f"the connection to {self._address.shown} is closed; connect again")
        try:
            found = wire.pushed()
        except Broken as error:
            raise self._lost(error) from error
        return [self._heard(reply) if isinstance(reply, RedisError) else reply for reply in found]

    def readable(self) -> bool:
        """Whether ``read`` would find something at once, or the end of the connection."""
        wire = self._wire
        if wire is None:
            return True
        try:
            return wire.readable()
        except Broken as error:
            raise self._lost(error) from error

    def fileno(self) -> int:
        """The socket's descriptor, or -1 without one."""
        return self._wire.fileno() if self._wire is not None else -1

    def close(self) -> None:
        """Close it; never raises."""
        wire, self._wire = self._wire, None
        self._owed = []
        if wire is not None:
            try:
                wire.close()
            except Broken:
                return

    def _open(self, timeout: float) -> Wire:
        if self._wire is not None:
            if self._kept or not self._wire.stale():
                return self._wire
            self.close()
        if self._kept and self._opened:
            raise Lost(f"the connection to Redis at {self._address.shown} was lost; connect again")
        self._opened = True
        try:
            wire = self._wire = Wire(self._address.open(timeout))
        except Broken as error:
            raise self._lost(error, "cannot reach") from error
        if self._scripts:
            commands = [("SCRIPT", "LOAD", script.text) for script in self._scripts]
            replies = self._exchange(wire, commands, timeout, "cannot reach")
            for script, reply in zip(self._scripts, replies, strict=True):
                if isinstance(reply, RedisError):
                    self.close()
                    raise OperationalError(f"{self._address.shown} refuses the connection: {reply}") from reply
                if reply != script.sha.encode():
                    raise self._lost(Garbled(f"it answers {str(reply)[:40]!r} to SCRIPT LOAD"), "cannot reach")
        return wire

    def _exchange(self, wire: Wire, commands: Sequence[Command], timeout: float, what: str = "lost") -> list[Any]:
        replies: list[Any] = []
        owed, self._owed = self._owed, []
        try:
            wire.within(timeout)
            if commands:
                wire.send(commands)
            wire.replies(len(owed) + len(commands), replies, time.monotonic() + timeout)
        except Broken as error:
            lost = self._lost(error, what)
            lost.replies = replies[len(owed) :]
            raise lost from error
        except BaseException:
            # A task's time limit, for one. What is still to come would be taken for the replies to the next batch.
            self.close()
            raise
        if owed:
            late, replies = replies[: len(owed)], replies[len(owed) :]
            for command, reply in zip(owed, late, strict=True):
                if isinstance(reply, RedisError):
                    self.answer(self._heard(reply, command))
        troubles = [n for n, reply in enumerate(replies) if isinstance(reply, RedisError)]
        for number in troubles:
            if is_no_master(replies[number]):
                lost = self._lost(replies[number])
                lost.replies = replies[:number]
                raise lost from replies[number]
            replies[number] = self._explained(replies[number], commands[number])
        return replies

    def _heard(self, error: RedisError, command: Command | None = None) -> Exception:
        """A refusal in our words.

        Raises:
            OperationalError: the server is no master any more, so this connection is of no more use.
        """
        if is_no_master(error):
            raise self._lost(error) from error
        return self._explained(error, self._sent if command is None else command)

    def _explained(self, error: Exception, command: Command) -> Exception:
        """The error, of the same kind, in words that say what is missing."""
        if isinstance(error, NoScript):
            return error
        return refused(error, command, self._address.user, self._scripts)

    def _lost(self, error: BaseException, what: str = "lost") -> Lost:
        address = self._address
        where = address.where(self._wire.connection if self._wire is not None else None)
        self.close()
        reason = unreachable(error, encrypted=address.encrypted, db=address.db, user=address.user)
        if is_no_master(error):
            return Lost(f"{where} refuses: {reason}")
        refuses = isinstance(error, LoginRefused | ReplyError)
        return Lost(f"{where} refuses the connection: {reason}" if refuses else f"{what} Redis at {where}: {reason}")


class Lost(OperationalError):
    """A connection broke in the middle of a batch.

    Attributes:
        replies: what the server had answered before.
    """

    replies: Sequence[Any] = ()
