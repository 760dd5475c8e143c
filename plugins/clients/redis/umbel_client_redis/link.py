"""One connection to Redis: commands go in batches, every batch has a deadline, errors are ours."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

import redis
import redis.exceptions

from umbel_client_redis.address import Address
from umbel_client_redis.script import Script
from umbel_kernel.errors import OperationalError, UmbelError
from umbel_kernel.url import mask

Command = tuple[Any, ...]
Broken = (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError)


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
        self._connection: Any = None

    @property
    def connected(self) -> bool:
        """Whether it was connected and has not failed since."""
        return self._connection is not None

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
            self._open(timeout)
            replies = self._exchange(commands, timeout)
            if any(isinstance(reply, redis.exceptions.NoScriptError) for reply in replies):
                self._exchange([("SCRIPT", "LOAD", script.text) for script in self._scripts], timeout)
                again = [n for n, reply in enumerate(replies) if isinstance(reply, redis.exceptions.NoScriptError)]
                for n, reply in zip(again, self._exchange([commands[n] for n in again], timeout), strict=True):
                    replies[n] = reply
            return replies

    def answer(self, reply: Any) -> Any:
        """A reply that is no refusal.

        Raises:
            UmbelError: of the kind given as ``refusal``: the server refused the command.
        """
        if isinstance(reply, redis.exceptions.RedisError):
            raise self._refusal(f"Redis refuses: {mask(str(reply))}") from reply
        return reply

    def ask(self, *command: Any, timeout: float) -> Any:
        """Send one command and return its reply.

        Raises:
            UmbelError: of the kind given as ``refusal``: the server refuses it.
            OperationalError: as for ``call``.
        """
        return self.answer(self.call([command], timeout)[0])

    def send(self, *command: Any, timeout: float) -> None:
        """Send one command and leave the reply to ``read``.

        Raises:
            OperationalError: the connection is lost.
        """
        if self._connection is None:
            self._open(timeout)
        try:
            self._connection._sock.settimeout(timeout)
            self._connection.send_packed_command(self._connection.pack_command(*command), check_health=False)
        except Broken as error:
            raise self._lost(error) from error

    def read(self, timeout: float) -> Any:
        """The next reply or pushed message.

        Raises:
            OperationalError: the connection broke, or none came within ``timeout`` seconds.
        """
        if self._connection is None:
            raise OperationalError(f"the connection to {self._address.shown} is closed; connect again")
        try:
            self._connection._sock.settimeout(timeout)
            return self._connection.read_response()
        except redis.exceptions.ResponseError as error:
            return error
        except Broken as error:
            raise self._lost(error) from error

    def readable(self) -> bool:
        """Whether ``read`` would find something at once, or the end of the connection."""
        if self._connection is None:
            return True
        try:
            return bool(self._connection.can_read(0))
        except Broken as error:
            raise self._lost(error) from error

    def fileno(self) -> int:
        """The socket's descriptor, or -1 without one."""
        sock = self._connection._sock if self._connection is not None else None
        return sock.fileno() if sock is not None else -1

    def close(self) -> None:
        """Close it; never raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.disconnect()
            except Broken:
                return

    def _open(self, timeout: float) -> None:
        if self._connection is not None:
            if self._kept or not _stale(self._connection._sock):
                return
            self.close()
        if self._kept and self._opened:
            raise Lost(f"the connection to Redis at {self._address.shown} was lost; connect again")
        self._opened = True
        connection = self._address.connection(timeout)
        try:
            connection.connect()
            self._connection = connection
            if self._scripts:
                for reply in self._exchange([("SCRIPT", "LOAD", script.text) for script in self._scripts], timeout):
                    self.answer(reply)
        except (redis.exceptions.AuthenticationError, redis.exceptions.ResponseError, self._refusal) as error:
            self.close()
            raise OperationalError(
                f"{self._address.shown} refuses the connection: {mask(str(error))}; check user, password and database"
            ) from error
        except Broken as error:
            connection.disconnect()
            raise self._lost(error, "cannot reach") from error

    def _exchange(self, commands: Sequence[Command], timeout: float) -> list[Any]:
        connection = self._connection
        replies: list[Any] = []
        end = time.monotonic() + timeout
        try:
            connection._sock.settimeout(timeout)
            connection.send_packed_command(connection.pack_commands(commands), check_health=False)
            for number in range(len(commands)):
                if number and not number % 64:
                    connection._sock.settimeout(max(0.001, end - time.monotonic()))
                try:
                    replies.append(connection.read_response())
                except redis.exceptions.ResponseError as error:
                    replies.append(error)
        except Broken as error:
            lost = self._lost(error)
            lost.replies = replies
            raise lost from error
        return replies

    def _lost(self, error: BaseException, what: str = "lost") -> Lost:
        self.close()
        reason = mask(str(error)) or type(error).__name__
        return Lost(f"{what} Redis at {self._address.shown}: {reason}; is it running?")


class Lost(OperationalError):
    """A connection broke in the middle of a batch.

    Attributes:
        replies: what the server had answered before.
    """

    replies: Sequence[Any] = ()


def _stale(sock: socket.socket | None) -> bool:
    """Whether an idle connection was closed by the server: nothing is due on it, so anything readable is the end."""
    if sock is None:
        return True
    poller = select.poll()
    poller.register(sock, select.POLLIN)
    return bool(poller.poll(0))
