"""What a child process does: read jobs, run them one after the other, report each."""

from __future__ import annotations

import gc
import logging
import marshal
import os
import pickle
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import FrameType
from typing import Any, ClassVar, NoReturn

from umbel_kernel.errors import SoftTimeLimitExceeded
from umbel_kernel.spi.pool import Job, PoolOptions
from umbel_pool_prefork.death import die_with_parent
from umbel_pool_prefork.frame import Frames, Kind, Said, pack_report
from umbel_pool_prefork.memory import Memory
from umbel_pool_prefork.stamp import Stamp
from umbel_pool_prefork.title import set_title

READ_SIZE = 65536


@dataclass(slots=True)
class Birth:
    """What a child is born with.

    Attributes:
        number: of the child; the first is 1.
        index: of its place among the children that work, from 0.
        parent: process id of the fork server.
        connection: the child's end of the socket pair.
        stamp: the words shared with the pool.
        mask: the signal mask to go back to; all signals are blocked at birth.
        abandon: closes what was inherited and is not this child's.
    """

    number: int
    index: int
    parent: int
    connection: socket.socket
    stamp: Stamp
    execute: Callable[[Job], Any]
    options: PoolOptions
    mask: Iterable[int]
    abandon: Callable[[], None]

    @property
    def name(self) -> str:
        """What the child is called."""
        return f"ForkPoolWorker-{self.number}"


def live(birth: Birth) -> NoReturn:
    """The whole life of a child. It ends with ``os._exit``, so nothing of the parent's is torn down here."""
    code = 1
    try:
        die_with_parent(birth.parent)
        birth.abandon()
        _reset_signals(birth.mask)
        gc.freeze()
        gc.enable()
        _introduce(birth.name, birth.index)
        set_title(f"[umbel: {birth.options.hostname}:{birth.name}]")
        code = Child(birth).run()
    except (BrokenPipeError, ConnectionResetError):
        code = 1
    except BaseException:
        traceback.print_exc()
    finally:
        _leave(code)


def _reset_signals(mask: Iterable[int]) -> None:
    """No handler of the parent's survives; Ctrl-C is the parent's business, since a terminal sends it to all."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _introduce(name: str, index: int) -> None:
    """Tell the log which process this is, and multiprocessing where it is in use here, as billiard knows already: for
    what logs a process's name or reads its index; and run what was registered with it to run after a fork.
    """
    make = logging.getLogRecordFactory()

    def named(*given: Any, **more: Any) -> logging.LogRecord:
        record = make(*given, **more)
        record.processName = name
        return record

    logging.setLogRecordFactory(named)
    known, tools = sys.modules.get("multiprocessing.process"), sys.modules.get("multiprocessing.util")
    if known is not None:
        process = known.current_process()
        process.name, process.index = name, index
    if tools is not None:
        tools._run_after_forkers()


def _leave(code: int) -> NoReturn:
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            code = code or 1
    os._exit(code)


class Running(Job):
    """The job that runs in a child; it sees in the shared memory when nobody wants it any more."""

    __slots__ = ()
    stamp: ClassVar[Stamp]

    @property
    def cancelled(self) -> bool:
        """Whether the pool has said so."""
        return self.stamp.unwanted == self.stamp.begun

    @cancelled.setter
    def cancelled(self, value: bool) -> None:
        """The pool says it; nobody here does."""


class Child:
    """Runs jobs in the main thread of a forked process.

    Each outcome is written to the socket as soon as its job ends and before the next begins: a crash in one job then
    takes no other's outcome along, and none waits behind a long job. That write costs about 1.5 µs; nothing else is
    asked of the system between two jobs.
    """

    def __init__(self, birth: Birth) -> None:
        self._connection = birth.connection
        self._file = birth.connection.fileno()
        self._stamp = Running.stamp = birth.stamp
        self._execute = birth.execute
        self._options = birth.options
        self._frames = Frames()
        self._job: Job | None = None
        self._number = 0
        self._done = 0
        self._strayed = False
        self._memory = Memory() if birth.options.max_memory_per_child is not None else None

    def run(self) -> int:
        """Serve until the pool closes the socket, or this child has to be replaced. Returns the exit code."""
        self._say(pack_report(Said.UP, os.getpid()))
        if self._options.initialize is not None:
            try:
                self._options.initialize()
            except BaseException as error:
                self._say(pack_report(Said.BROKEN, 0, f"initialize raised {type(error).__name__}: {error}"))
                traceback.print_exc()
                return 1
        os.register_at_fork(after_in_child=self._stray)
        signal.signal(signal.SIGUSR1, self._on_soft_limit)
        self._say(pack_report(Said.READY, os.getpid()))
        self._serve()
        if self._options.finalize is not None:
            self._options.finalize()
        return 0

    def _serve(self) -> None:
        while data := os.read(self._file, READ_SIZE):
            for kind, payload in self._frames.feed(data):
                try:
                    batch = marshal.loads(payload) if kind == Kind.MARSHAL else pickle.loads(payload)
                except Exception as error:
                    # Only a pickle can fail, and a pickle is of one job.
                    self._number += 1
                    self._stamp.begin(self._number, time.monotonic())
                    said = f"a job could not be read in a child process: {type(error).__name__}: {error}"
                    self._say(pack_report(Said.FAILED, self._number, said))
                    continue
                if not self._run_batch(batch):
                    self._say(pack_report(Said.LEAVING, self._number))
                    return

    def _run_batch(self, batch: list[tuple[Any, ...]]) -> bool:
        """Run jobs in order. Returns False when this child must be replaced; what is left then goes to another."""
        begin, execute, monotonic = self._stamp.begin, self._execute, time.monotonic
        for fields in batch:
            self._number = number = self._number + 1
            began = monotonic()
            if not begin(number, began):
                self._say(pack_report(Said.SKIPPED, number))
                continue
            job = Running(*fields)
            said, value = Said.DONE, None
            self._job = job
            try:
                value = execute(job)
            except Exception as error:
                self._job = None
                said, value = Said.FAILED, f"job {job.id} could not be run: {type(error).__name__}: {error}"
            except BaseException as error:
                self._job = None
                said, value = Said.LOST, f"job {job.id} raised {type(error).__name__}({error})"
            self._job = None
            if self._strayed:
                os._exit(0)
            try:
                report = pack_report(said, number, value, monotonic() - began)
            except ValueError as error:
                text = f"what job {job.id} returned cannot be carried to the worker: {error}"
                report = pack_report(Said.FAILED, number, text, monotonic() - began)
            self._say(report)
            self._done += 1
            if self._is_worn():
                return False
        return True

    def _is_worn(self) -> bool:
        options = self._options
        if options.max_jobs_per_child is not None and self._done >= options.max_jobs_per_child:
            return True
        return self._memory is not None and self._memory.kib() > (options.max_memory_per_child or 0)

    def _say(self, report: bytes) -> None:
        written = os.write(self._file, report)
        while written < len(report):
            written += os.write(self._file, memoryview(report)[written:])

    def _stray(self) -> None:
        """In a process that a job forked: if it ever comes back here it must end, not serve the socket as well."""
        self._strayed = True

    def _on_soft_limit(self, number: int, frame: FrameType | None) -> None:
        """Raise inside the job that is meant; not in its successor, and not in the code here around a job."""
        job = self._job
        if job is None or self._stamp.soft != self._number:
            return
        if frame is None or frame.f_code is Child._run_batch.__code__:
            return
        error = SoftTimeLimitExceeded(job.soft_limit)
        interrupt = self._options.interrupt
        if interrupt is None or not interrupt(job.id, error):
            raise error
