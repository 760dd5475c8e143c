"""One child, as the pool sees it."""

from __future__ import annotations

import logging
import math
import os
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence

from umbel_kernel.errors import PoolError
from umbel_kernel.spi.pool import Job
from umbel_pool_prefork.death import exit_text
from umbel_pool_prefork.forker import Forker
from umbel_pool_prefork.frame import Frames, pack_jobs
from umbel_pool_prefork.stamp import Stamp

logger = logging.getLogger(__name__)

START_GRACE = 0.01
"""Seconds after which the pool looks whether a job that was sent has begun."""

BEGUN = 0.005
"""Seconds that a job has run before it is told of as begun; of most it can then be told with their ends."""

SILENCE = 1.0
"""Seconds after which jobs that a child left lying go to another."""

REPRIEVE = 0.1
"""Seconds after which a child that survived the signal meant for its job is used again."""

READ_SIZE = 262144
READ_LIMIT = 4 * 1024 * 1024
_SEND_FLAGS = getattr(socket, "MSG_NOSIGNAL", 0)


class Slot:
    """The pool's end of one child: its process, its socket, and the jobs it holds.

    Args:
        number: by which the fork server calls it.
        index: of its place among the children that work.
        free: gives its stamp back.

    Attributes:
        pid: of its process; 0 until the fork server has told it.
        ended: the process has ended.
        code: its exit code, once it has; None when nobody knows.
        orphan: the fork server is gone, so nobody will tell of its end.
        staged: by number, the jobs sent and not ended, the running one first.
        sent: number of the last job sent.
        told: number of the last job that ``collect`` told of as begun.
        done: how many jobs ended.
        ready: the child has initialized itself and takes jobs.
        leaving: the child takes no more jobs and ends by itself.
        silent: the child left its jobs lying, as one that is stopped does; it gets none until it goes on.
        verdict: number of a job that the pool has decided to end by ending the child, and the outcome it gets.
    """

    def __init__(
        self,
        number: int,
        index: int,
        connection: socket.socket,
        stamp: Stamp,
        forker: Forker,
        free: Callable[[], None],
    ) -> None:
        self.number = number
        self.index = index
        self.pid = 0
        self.connection = connection
        self.stamp = stamp
        self.ended = self.orphan = False
        self.code: int | None = None
        self._forker = forker
        self._free = free
        self.born = self.touched = time.monotonic()
        self.staged: dict[int, Job] = {}
        self.sent = self.told = self.done = self.softened = 0
        self.up = self.ready = self.leaving = self.silent = self.mute = False
        self.deadline: float | None = None
        self.complaint = ""
        self.verdict: tuple[int, PoolError] | None = None
        self._unsent: deque[memoryview] = deque()
        self._frames = Frames()

    @property
    def usable(self) -> bool:
        """Whether it may be given jobs."""
        return self.ready and not (self.orphan or self.leaving or self.silent or self.mute or self.verdict is not None)

    @property
    def backlogged(self) -> bool:
        """Whether the socket has not taken yet all that is to be sent."""
        return bool(self._unsent)

    def send(self, jobs: Sequence[Job]) -> list[tuple[Job, PoolError]]:
        """Stage jobs. Returns those that cannot be carried, with the reason."""
        data, carried, refused = pack_jobs(jobs)
        for job in carried:
            self.sent += 1
            self.staged[self.sent] = job
        if data:
            self._unsent.append(memoryview(data))
            self.touched = time.monotonic()
            self.flush()
        return refused

    def flush(self) -> None:
        """Write what the socket takes."""
        unsent = self._unsent
        try:
            while unsent:
                data = unsent[0]
                written = self.connection.send(data, _SEND_FLAGS)
                if written == len(data):
                    unsent.popleft()
                else:
                    unsent[0] = data[written:]
                    self.touched = time.monotonic()
        except BlockingIOError:
            return
        except OSError as error:
            # The child is gone or has closed its end; the watch on its death brings the rest.
            logger.debug("cannot write to child %d: %s", self.pid, error)
            unsent.clear()

    def receive(self, limit: float = READ_LIMIT) -> list[tuple[int, memoryview]]:
        """Frames that have come, until about so many bytes are read. Sets ``mute`` at the end of the stream."""
        frames: list[tuple[int, memoryview]] = []
        taken = 0
        while taken < limit and not self.mute:
            try:
                data = self.connection.recv(READ_SIZE)
            except BlockingIOError:
                break
            except OSError as error:
                logger.debug("cannot read from child %d: %s", self.pid, error)
                data = b""
            if not data:
                self.mute = True
                break
            taken += len(data)
            frames.extend(self._frames.feed(data))
            if len(data) < READ_SIZE:
                break
        return frames

    def reclaim(self) -> list[Job]:
        """Take back all jobs that have not begun; they never will in this child."""
        begun = self.stamp.void(self.sent)
        return [self.staged.pop(number) for number in [number for number in self.staged if number > begun]]

    def running(self) -> tuple[int, Job, float] | None:
        """Number of the job that runs, the job, and the monotonic time at which it began."""
        number, since = self.stamp.read()
        job = self.staged.get(number)
        return None if job is None else (number, job, since)

    def due(self, now: float, alive_timeout: float, patience: float) -> float:
        """The monotonic time at which the pool should look at this child, if nothing happens before.

        Args:
            patience: seconds that a job may take before those behind it are taken back.
        """
        due = math.inf
        if self.deadline is not None:
            due = self.deadline
        elif not self.up:
            due = self.born + alive_timeout
        if self.silent:
            due = min(due, now + SILENCE)
        if not self.staged:
            return due if self.verdict is None else min(due, self.touched + REPRIEVE)
        running = self.running()
        if running is None:
            return min(due, now + START_GRACE)
        number, job, since = running
        if number != self.stamp.runs:
            return min(due, now + START_GRACE)
        if number > self.told:
            due = min(due, since + BEGUN)
        if job.hard_limit is not None and self.verdict is None:
            due = min(due, since + job.hard_limit)
        if job.soft_limit is not None and self.softened < number:
            due = min(due, since + job.soft_limit)
        if len(self.staged) > 1:
            due = min(due, since + patience)
        return due

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal, if the process is still there."""
        if self.ended:
            return
        if not self.orphan:
            self._forker.kill(self.number, number)
        elif self.pid:
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                logger.debug("child %d was gone before a signal", self.pid)

    def dismiss(self, *, now: bool = False) -> None:
        """Let the child end in good order when it is done: it finds the end of its socket.

        Args:
            now: take no more outcomes either, so that a child with much to write does not wait for a reader.
        """
        self.leaving = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR if now else socket.SHUT_WR)
        except OSError as error:
            logger.debug("child %d is not connected any more: %s", self.pid, error)

    def death_text(self) -> str:
        """How the child ended, in words."""
        if not self.pid and self.complaint:
            return self.complaint
        said = f"process {self.pid or 'at birth'} ended: {exit_text(self.code)}"
        if self.code == -signal.SIGKILL and self.verdict is None and not self.complaint:
            said += "; if nobody sent that, the system was out of memory: see its log"
        return f"{said}; {self.complaint}" if self.complaint else said

    def close(self) -> None:
        """Free everything of a child that has ended. One that could not be killed may go on to write to its stamp."""
        self.connection.close()
        if self.ended:
            self._free()
