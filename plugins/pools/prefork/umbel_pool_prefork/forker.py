"""The pool's end of the fork server."""

from __future__ import annotations

import logging
import marshal
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

from umbel_kernel.errors import PoolError
from umbel_kernel.spi.pool import Job, PoolOptions
from umbel_pool_prefork.death import exit_text
from umbel_pool_prefork.frame import Frames
from umbel_pool_prefork.server import REQUEST, Ask, Server
from umbel_pool_prefork.stamp import Stamps

logger = logging.getLogger(__name__)

PATIENCE = 5.0
"""Seconds that the server may take to read a request."""

FAREWELL = 1.0
"""Seconds that the server has to end before it is killed."""

READ_SIZE = 65536


class Forker:
    """A fork server: started by a fork of this process, asked for children, and ended.

    All signals are blocked around the fork, so that no handler of this process's runs in the server before it has set
    its own.

    Args:
        abandon: closes in the server what it inherits and must not hold.

    Attributes:
        lost: the server has ended.
        heard: what ``receive`` will return at once.

    Raises:
        PoolError: the system refuses.
    """

    def __init__(
        self, stamps: Stamps, execute: Callable[[Job], Any], options: PoolOptions, abandon: Callable[[], None]
    ) -> None:
        self.lost = False
        self._frames = Frames()
        self.heard: list[tuple[int, int, Any]] = []
        for stream in (sys.stdout, sys.stderr):
            if stream is not None and not stream.closed:
                stream.flush()
        try:
            self._connection, theirs = socket.socketpair()
        except OSError as error:
            raise PoolError(f"no socket pair for a fork server: {error}; raise the limit of open files") from error
        self._connection.setblocking(False)
        parent = os.getpid()
        if options.prepare is not None:
            options.prepare()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            self.pid = os.fork()
            if not self.pid:

                def forget() -> None:
                    abandon()
                    self._connection.close()

                Server(theirs, stamps, execute, options).run(parent, mask, forget)
        except OSError as error:
            self._connection.close()
            raise PoolError(
                f"the system starts no fork server: {error}; lower the concurrency or free memory"
            ) from error
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            theirs.close()

    def fileno(self) -> int:
        """The descriptor that is readable when there is something to ``receive``."""
        return self._connection.fileno()

    def bear(self, number: int, index: int, place: int, connection: socket.socket) -> None:
        """Ask for a child. Whether there is one is told by ``receive``.

        Args:
            number: by which the child is called from now on.
            index: of its place among the children that work.
            place: of its stamp.
            connection: its end of a socket pair, of which the server takes a copy.

        Raises:
            PoolError: the server does not listen.
        """
        try:
            self._ask(REQUEST.pack(Ask.BEAR, number, index, place), [connection.fileno()])
        except OSError as error:
            raise PoolError(f"the fork server starts no child process: {error}") from error

    def kill(self, number: int, by: int) -> None:
        """Send a signal to a child, if it has not ended."""
        try:
            self._ask(REQUEST.pack(Ask.KILL, number, by, 0), [])
        except OSError as error:
            logger.debug("the fork server cannot be told to signal child %d: %s", number, error)

    def receive(self) -> list[tuple[int, int, Any]]:
        """What has happened, each as a ``Said``, the number of a child, and its process id, the reason why there is
        none, or its exit code. Sets ``lost`` at the end of the stream.
        """
        self._hear()
        found, self.heard = self.heard, []
        return found

    def _hear(self) -> None:
        while not self.lost:
            try:
                data = self._connection.recv(READ_SIZE)
            except BlockingIOError:
                return
            except OSError as error:
                logger.debug("cannot read from the fork server: %s", error)
                data = b""
            self.lost = not data
            self.heard += [marshal.loads(payload)[:3] for _, payload in self._frames.feed(data)]

    def _ask(self, request: bytes, files: list[int]) -> None:
        """Send a request. What the server says meanwhile is taken in, so that the two never wait for each other.

        Raises:
            OSError: the server is gone, or does not read.
        """
        end = time.monotonic() + PATIENCE
        while True:
            try:
                # So few bytes go whole or not at all.
                if files:
                    socket.send_fds(self._connection, [request], files)
                else:
                    self._connection.send(request)
                return
            except BlockingIOError:
                left = end - time.monotonic()
                if left <= 0:
                    raise TimeoutError(f"it has read nothing for {PATIENCE} s") from None
                poll = select.poll()
                poll.register(self._connection, select.POLLIN | select.POLLOUT)
                poll.poll(left * 1000)
                self._hear()

    def wait(self, timeout: float) -> None:
        """Wait until there is something to ``receive``, at most so many seconds."""
        if self.heard:
            return
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        poll.poll(timeout * 1000)

    def close(self) -> str:
        """End the server, and with it what is left of its children. Returns how it ended, in words."""
        self._connection.close()
        end = time.monotonic() + FAREWELL
        while (ended := self._reap(os.WNOHANG)) is None:
            if time.monotonic() > end:
                os.kill(self.pid, signal.SIGKILL)
                ended = self._reap(0)
                break
            time.sleep(0.001)
        return ended or exit_text(None)

    def crush(self) -> None:
        """Kill a server that does not answer; its children end with it."""
        os.kill(self.pid, signal.SIGKILL)

    def _reap(self, how: int) -> str | None:
        try:
            pid, status = os.waitpid(self.pid, how)
        except ChildProcessError:
            return exit_text(None)
        return exit_text(os.waitstatus_to_exitcode(status)) if pid else None
