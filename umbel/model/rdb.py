"""A debugger for code that runs in no terminal: it waits for a connection, as by ``telnet``, and is ``pdb`` there."""

from __future__ import annotations

import errno
import os
import pdb
import socket
import sys
from types import FrameType
from typing import IO, Any

HOST = "127.0.0.1"
PORT = 6899
"""Where it waits, unless ``CELERY_RDB_HOST`` and ``CELERY_RDB_PORT`` say otherwise. It runs whatever it is told, so no
stranger may reach it."""


class Rdb(pdb.Pdb):
    """One session. It ends with ``continue``, with ``quit``, which raises ``BdbQuit`` in the code, or when the
    connection does, which lets the code go on.

    Args:
        host: where to wait.
        port: where to wait, or above if that is taken.
        port_search_limit: how many ports to try.
        port_skew: is added to the port.
        out: where to say that it waits; stderr by default.
        timeout: seconds to wait for somebody; None for ever.

    Raises:
        OSError: none of these ports is free.
        TimeoutError: nobody came.
    """

    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        port_search_limit: int = 100,
        port_skew: int = 0,
        out: IO[str] | None = None,
        timeout: float | None = None,
    ) -> None:
        self.active = True
        self.host = host or os.environ.get("CELERY_RDB_HOST") or HOST
        first = int(port or os.environ.get("CELERY_RDB_PORT") or PORT) + port_skew
        listener = _listen(self.host, first, port_search_limit)
        self.port: int = listener.getsockname()[1]
        said = out or sys.__stderr__
        if said is not None:
            said.write(
                f"Remote debugger of process {os.getpid()}: waits for you on {self.host}:{self.port}, "
                f"as by: telnet {self.host} {self.port}\n"
            )
            said.flush()
        with listener:
            listener.settimeout(timeout)
            self._client, self.remote_addr = listener.accept()
        self._client.settimeout(None)
        # Two files: one for both ways would drop what it has read ahead at each write.
        self._in, self._out = self._client.makefile("r"), self._client.makefile("w")
        super().__init__(stdin=self._in, stdout=self._out, nosigint=True, readrc=False)
        self.use_rawinput = False
        self.prompt = "(rdb) "

    def close(self) -> None:
        """End the session."""
        global _current
        self.active = False
        _current = None
        for thing in (self._in, self._out, self._client):
            try:
                thing.close()
            except OSError:
                continue

    def do_continue(self, arg: str) -> bool | None:
        """Let the code go on, and end the session."""
        self.set_continue()
        self.close()
        return True

    do_c = do_cont = do_continue

    def do_quit(self, arg: str) -> bool | None:
        """End the session and the code that was debugged."""
        self.set_quit()
        self.close()
        return True

    do_q = do_exit = do_quit

    def do_EOF(self, arg: str) -> bool | None:
        """Whoever was there has hung up: let the code go on."""
        return self.do_continue(arg)


_current: Rdb | None = None


def debugger(**options: Any) -> Rdb:
    """The session of this process, or a new one, for which it waits. Options are those of ``Rdb``."""
    global _current
    if _current is None or not _current.active:
        _current = Rdb(**options)
    return _current


def set_trace(frame: FrameType | None = None) -> None:
    """Stop here, or at a frame, and let whoever connects look around."""
    debugger().set_trace(frame if frame is not None else sys._getframe().f_back)


def look(frame: FrameType | None) -> None:
    """Let whoever connects look around at a frame now, though it may be long until its next line runs."""
    session = debugger()
    session.reset()
    session.interaction(frame, None)
    if session.active:
        session.set_trace(frame)


def _listen(host: str, first: int, count: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in range(first, first + count):
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            listener.listen(1)
        except OSError as error:
            listener.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            continue
        return listener
    raise OSError(errno.EADDRINUSE, f"no port from {first} to {first + count - 1} is free for the remote debugger")
