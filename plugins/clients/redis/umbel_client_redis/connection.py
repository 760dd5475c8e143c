"""An open connection to a Redis server: reached, logged in, on its database."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Mapping, Sequence
from typing import Any

from umbel_client_redis.errors import Disconnected, RedisError, TimedOut
from umbel_client_redis.resp import MORE, Command, pack, reader


class Connection:
    """A connection by TCP, or by a Unix socket where ``path`` is given.

    Args:
        client_name: what CLIENT LIST shows.
        socket_timeout: seconds that each step may take.
        socket_connect_timeout: seconds that reaching the server may take; None for the same.
        socket_keepalive: whether TCP keepalives are sent.
        socket_keepalive_options: numbers of TCP options and their values.

    Attributes:
        sock: None until ``connect`` and after ``disconnect``.
        reader: makes replies of what the socket brings.
    """

    def __init__(
        self,
        *,
        host: str = "",
        port: int = 0,
        path: str = "",
        db: int = 0,
        username: str | None = None,
        password: str | None = None,
        client_name: str | None = None,
        socket_timeout: float = 5.0,
        socket_connect_timeout: float | None = None,
        socket_keepalive: bool = False,
        socket_keepalive_options: Mapping[int, Any] | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.path = path
        self.db = db
        self.username = username
        self.password = password
        self.client_name = client_name
        self.socket_timeout = socket_timeout
        self.socket_connect_timeout = socket_connect_timeout
        self.socket_keepalive = socket_keepalive
        self.socket_keepalive_options = socket_keepalive_options
        self.sock: socket.socket | None = None
        self.reader = reader()

    def connect(self) -> None:
        """Reach the server, log in and choose the database.

        Raises:
            RedisError: it cannot be reached, or refuses us.
        """
        try:
            self.sock = self._secured(self._reached())
            self.sock.settimeout(self.socket_timeout)
        except TimeoutError as error:
            raise TimedOut("it did not answer in time") from error
        except (OSError, ValueError) as error:
            raise Disconnected(getattr(error, "strerror", None) or str(error)) from error
        self._log_in()

    def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one write and return their replies, refusals among them as exceptions.

        Raises:
            RedisError: the connection broke.
        """
        if self.sock is None:
            raise Disconnected("it is closed")
        replies: list[Any] = []
        try:
            self.sock.sendall(pack(commands))
            while len(replies) < len(commands):
                reply = self.reader.gets()
                if reply is not MORE:
                    replies.append(reply)
                    continue
                data = self.sock.recv(65536)
                if not data:
                    raise Disconnected("the server has closed the connection")
                self.reader.feed(data)
        except TimeoutError as error:
            raise TimedOut("it did not answer in time") from error
        except OSError as error:
            raise Disconnected(error.strerror or str(error)) from error
        return replies

    def disconnect(self) -> None:
        """Close it; never raises."""
        sock, self.sock = self.sock, None
        if sock is not None:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()

    def _reached(self) -> socket.socket:
        limit = self.socket_connect_timeout or self.socket_timeout
        if self.path:
            sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                sock.settimeout(limit)
                sock.connect(self.path)
            except BaseException:
                sock.close()
                raise
            return sock
        # A text is made into bytes by the rules for foreign letters, whose tables are a megabyte.
        host: Any = self.host.encode() if self.host.isascii() else self.host
        sock = socket.create_connection((host, self.port), limit)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self.socket_keepalive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in (self.socket_keepalive_options or {}).items():
                sock.setsockopt(socket.IPPROTO_TCP, option, value)
        return sock

    def _secured(self, sock: socket.socket) -> socket.socket:
        """The socket to speak on; with TLS another."""
        return sock

    def _log_in(self) -> None:
        """All in one trip. A server before Redis 6 knows no user names and takes the password alone."""
        commands: list[Command] = []
        if self.username:
            commands.append(("AUTH", self.username, self.password or ""))
        elif self.password:
            commands.append(("AUTH", self.password))
        if self.client_name:
            commands.append(("CLIENT", "SETNAME", self.client_name))
        if self.db:
            commands.append(("SELECT", self.db))
        if not commands:
            return
        replies = self.exchange(commands)
        if isinstance(replies[0], RedisError) and self.username and "wrong number of arguments" in str(replies[0]):
            replies = self.exchange([("AUTH", self.password or ""), *commands[1:]])
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
