"""The process that forks the children.

It has one thread and does nothing else, so a fork never copies a lock that somebody holds, a connection of the worker's
or what the worker has grown since it began. The pool asks it over a socket pair; it answers with frames as children do.
"""

from __future__ import annotations

import enum
import gc
import os
import select
import signal
import socket
import struct
import traceback
from collections.abc import Callable, Iterable
from typing import Any, NoReturn

import billiard
import billiard.popen_fork
import billiard.util
from billiard.process import BaseProcess

from umbel_kernel.spi.pool import Job, PoolOptions
from umbel_pool_prefork.child import Birth, live
from umbel_pool_prefork.death import die_with_parent
from umbel_pool_prefork.frame import Said, pack_report
from umbel_pool_prefork.stamp import Stamps
from umbel_pool_prefork.title import set_title

# billiard imports these two late, the second in each child anew.
_WARM = (billiard.popen_fork, billiard.util)
_context = billiard.get_context("fork")

REQUEST = struct.Struct("<BIII")
"""What is asked for, the number of a child, and two numbers that come with it."""


class Ask(enum.IntEnum):
    """What the pool asks for."""

    BEAR = 0  # a child; with it come its index, the place of its stamp and, beside the bytes, its end of its sockets
    KILL = 1  # by a signal; a child that has ended meanwhile, whose process id may be another's, is left alone


class Server:
    """Forks children, sends them signals, and reports their births and ends.

    It ends when the pool closes the socket, and kills what is left then; on Linux it is killed when the pool's process
    is, and its children with it.

    Args:
        connection: its end of the socket pair.
        stamps: the memory shared with the pool and all children.
    """

    def __init__(
        self, connection: socket.socket, stamps: Stamps, execute: Callable[[Job], Any], options: PoolOptions
    ) -> None:
        self._connection = connection
        self._stamps = stamps
        self._execute = execute
        self._options = options
        self._children: dict[int, BaseProcess] = {}
        self._bell = self._ring = -1

    def run(self, pool: int, mask: Iterable[int], abandon: Callable[[], None]) -> NoReturn:
        """Serve until the pool is gone.

        Args:
            pool: process id of the pool.
            mask: the signal mask to go back to; all signals are blocked at the start.
            abandon: closes what was inherited and is the pool's.
        """
        code = 1
        try:
            die_with_parent(pool)
            abandon()
            self._settle_in()
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._serve()
            code = 0
        except BrokenPipeError:
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            for child in self._children.values():
                os.kill(child.pid, signal.SIGKILL)
            for child in self._children.values():
                os.waitpid(child.pid, 0)
            os._exit(code)

    def _settle_in(self) -> None:
        # No garbage is made here, and a collection would touch, and thereby copy, what is shared.
        gc.disable()
        self._bell, self._ring = os.pipe()
        os.set_blocking(self._bell, False)
        os.set_blocking(self._ring, False)
        signal.set_wakeup_fd(self._ring, warn_on_full_buffer=False)
        for number in signal.valid_signals():
            # A function, since that becomes the default again in a child; what is ignored stays ignored there.
            found = signal.getsignal(number)
            if callable(found) or (number in _OURS and found == signal.SIG_DFL) or number == signal.SIGCHLD:
                signal.signal(number, _pass_over)
        set_title(f"[umbel: {self._options.hostname}:ForkServer]")
        null = os.open(os.devnull, os.O_RDONLY)
        if null:
            os.dup2(null, 0)
            os.close(null)

    def _serve(self) -> None:
        poll = select.poll()
        poll.register(self._connection, select.POLLIN)
        poll.register(self._bell, select.POLLIN)
        own = self._connection.fileno()
        while True:
            for file, _ in poll.poll():
                if file == self._bell:
                    os.read(self._bell, 4096)
                    self._reap()
                elif file == own and not self._answer():
                    return

    def _answer(self) -> bool:
        """Do what one request asks for. Returns False when the pool is gone."""
        data, files, _, _ = socket.recv_fds(self._connection, REQUEST.size, 1)
        while data and len(data) < REQUEST.size:
            more = self._connection.recv(REQUEST.size - len(data))
            data = data + more if more else b""
        if not data:
            return False
        what, number, first, second = REQUEST.unpack(data)
        if what == Ask.BEAR:
            with socket.socket(fileno=files[0]) as connection:
                self._bear(number, first, second, connection)
        elif number in self._children:
            os.kill(self._children[number].pid, first)
        return True

    def _bear(self, number: int, index: int, place: int, connection: socket.socket) -> None:
        if self._options.prepare is not None:
            self._options.prepare()
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            stamp = self._stamps.at(place)
            birth = Birth(
                number, index, os.getpid(), connection, stamp, self._execute, self._options, mask, self._abandon
            )
            child = _context.Process(target=live, args=(birth,), name=birth.name)
            child.index = index
            child.start()
            child._popen.close()  # the end of a pipe by which others would wait for it
        except OSError as error:
            said = f"the system starts no child process: {error}; lower the concurrency or free memory"
            self._say(pack_report(Said.BARREN, number, said))
            return
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        self._children[number] = child
        self._say(pack_report(Said.BORN, number, child.pid))

    def _abandon(self) -> None:
        """In a new child: close what is the server's."""
        signal.set_wakeup_fd(-1)
        self._connection.close()
        os.close(self._bell)
        os.close(self._ring)

    def _reap(self) -> None:
        for number, child in list(self._children.items()):
            code = child.exitcode
            if code is not None:
                del self._children[number]
                self._say(pack_report(Said.ENDED, number, code))

    def _say(self, report: bytes) -> None:
        self._connection.sendall(report)


_OURS = frozenset(
    (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM)
)
"""Signals that end a process by default. What reaches the whole process group is for the worker to decide on."""


def _pass_over(number: int, frame: object) -> None:
    """Nothing; that it is called ends the wait."""
