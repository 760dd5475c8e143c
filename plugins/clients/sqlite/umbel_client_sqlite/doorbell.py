"""How a process that wrote tells one that waits: a datagram to a socket whose name is in the database.

SQLite cannot call; a reader can only look. So each waiter has a Unix datagram socket, and whoever commits something
for it rings there (3 µs). A ring is a hint and carries nothing: one that is lost, or cannot be sent because the two
live in different network namespaces, costs the pause until the waiter looks by itself. On Linux the sockets have
abstract names, which leave no files behind and vanish with their process; elsewhere they are files in a directory of
the user's own.
"""

from __future__ import annotations

import os
import secrets
import select
import shutil
import socket
import sys
import tempfile
import threading

_ABSTRACT = sys.platform.startswith("linux")


def _name_of(address: str) -> str:
    return "\0" + address[1:] if address.startswith("@") else address


def _datagrams() -> socket.socket:
    """A socket that never blocks. SOCK_NONBLOCK is not enough: gevent's and eventlet's sockets take no notice of it."""
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    made.setblocking(False)
    return made


class Doorbell:
    """What a waiter listens at.

    Attributes:
        address: what others ring; an abstract name is shown with ``@`` for its leading zero byte.
    """

    def __init__(self) -> None:
        self._bell = _datagrams()
        self._directory = ""
        try:
            if _ABSTRACT:
                self.address = f"@umbel-{secrets.token_hex(16)}"
            else:
                self._directory = tempfile.mkdtemp(prefix="umbel-")
                self.address = os.path.join(self._directory, "bell")
            self._bell.bind(_name_of(self.address))
            self._near, self._far = socket.socketpair()
        except BaseException:
            self._bell.close()
            raise
        self._near.setblocking(False)
        self._far.setblocking(False)
        self._poll = select.poll()
        self._poll.register(self._bell, select.POLLIN)
        self._poll.register(self._near, select.POLLIN)
        self._near_fd = self._near.fileno()
        self._woken = False
        self._closing = threading.Lock()

    def wake(self) -> None:
        """End this process's own wait, now or the next one. From any thread or signal handler; never raises."""
        self._woken = True
        try:
            self._far.send(b"w")
        except OSError:
            # Full: it is awake already. Closed: nobody waits.
            pass

    def was_woken(self) -> bool:
        """Whether ``wake`` was called since the last time this was asked."""
        if not self._woken:
            return False
        self._woken = False
        self._drain(self._near)
        return True

    def wait(self, seconds: float) -> bool:
        """Wait for a ring or for ``wake``; whether there was one."""
        found = self._poll.poll(max(0.0, seconds) * 1000)
        for fd, _ in found:
            if fd == self._near_fd:
                self._woken = True
            else:
                self._drain(self._bell)
        return bool(found)

    @staticmethod
    def _drain(source: socket.socket) -> None:
        try:
            while source.recv(64):
                pass
        except OSError:
            # Empty, or closed.
            pass

    def close(self) -> None:
        """Never raises; a second call does nothing."""
        with self._closing:
            for each in (self._bell, self._near, self._far):
                each.close()
            if self._directory:
                shutil.rmtree(self._directory, ignore_errors=True)
                self._directory = ""


class Ringer:
    """What rings at others' doorbells. Several threads may share one."""

    def __init__(self) -> None:
        self._socket: socket.socket | None = None

    def ring(self, address: str) -> bool:
        """Ring once; never blocks and never raises. False: nobody lives there."""
        try:
            if self._socket is None:
                self._socket = _datagrams()
            self._socket.sendto(b"r", _name_of(address))
        except BlockingIOError:
            # It has not yet heard the rings before this one, so it will look in any case.
            return True
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
        return True

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None
