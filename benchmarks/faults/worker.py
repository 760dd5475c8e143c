"""A contender's worker under test: started in a session of its own, watched from outside, ended with all it has."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO

import psutil
from harness.failure import Failure
from harness.settings import FOLDER
from harness.tree import Tree

from faults.journal import Journal, alive

START_TIMEOUT = 60.0
READY = re.compile(r" ready\.")
LOST = re.compile(r"[Cc]onnection to broker lost|[Cc]annot connect to|Connection (error|lost)")
"""How a worker's log says that the connection is gone; the words are Celery's, and umbel's are the same."""
OF_A_TASK = re.compile(r"Task [\w.]+\[[0-9a-f-]+\] (received|succeeded)")


class Worker:
    """A worker's parent process and its children.

    Args:
        contender: whose program it is.
        name: of the node, and in the journal.
        log: where it writes; appended to, so that a restarted worker's log goes on.
    """

    def __init__(
        self,
        contender: str,
        name: str,
        *,
        log: Path,
        environment: Mapping[str, str],
        pool: str,
        concurrency: int,
        queue: str,
        journal: Journal,
    ) -> None:
        self.contender = contender
        self.name = name
        self.log = log
        self._environment = {**environment, "FAULTS_WORKER": name}
        self._journal = journal
        self._command = [
            *(sys.executable, "-m", contender, "-A", f"faults.apps.{contender}", "worker", "-l", "INFO"),
            *("-n", f"{name}@%h", "-P", pool, "-c", str(concurrency), "-Q", queue),
        ]
        self._process: subprocess.Popen[bytes] | None = None
        self._tree: Tree | None = None
        self._begin = 0
        self.starts = 0

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start it and return when it says that it consumes. Raises Failure when it does not."""
        self.launch()
        self.ready()

    def launch(self) -> None:
        """Start it, and return at once."""
        self._begin = self.log.stat().st_size if self.log.exists() else 0
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                self._command,
                cwd=FOLDER,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._tree = Tree([self._process.pid])
        self.starts += 1

    def ready(self) -> None:
        """Return when it says that it consumes. Raises Failure when it ends or takes too long."""
        end = time.monotonic() + START_TIMEOUT
        while not READY.search(self.said(self._begin)):
            if not self.alive():
                raise Failure(f"{self.contender}: the worker {self.name} ended while it started", self.log)
            if time.monotonic() > end:
                raise Failure(f"{self.contender}: the worker {self.name} does not say that it is ready", self.log)
            time.sleep(0.02)

    def said(self, since: int = 0) -> str:
        """Its log from that byte on."""
        with open(self.log, "rb") as file:
            file.seek(since)
            return file.read().decode(errors="replace")

    def at(self) -> int:
        """How long its log is now, for `said`, `lines` and `noticed`."""
        return self.log.stat().st_size

    def lines(self, since: int) -> int:
        """Lines said since then, without those about the single tasks."""
        return sum(bool(line.strip()) and not OF_A_TASK.search(line) for line in self.said(since).splitlines())

    def noticed(self, since: int) -> bool:
        """Whether it has said since then that its connection is gone."""
        return LOST.search(self.said(since)) is not None

    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def children(self) -> list[int]:
        """All processes below the parent that run."""
        try:
            return [p.pid for p in psutil.Process(self.pid).children(recursive=True) if alive(p.pid)]
        except psutil.NoSuchProcess:
            return []

    def pool(self) -> list[int]:
        """The processes that have run a task, of those that are there: no tracker, no server that only forks."""
        ran = {run.pid for run in self._journal.begun(worker=self.name)}
        return [pid for pid in self.children() if pid in ran]

    def cpu(self) -> float:
        assert self._tree is not None
        return self._tree.cpu()

    def kill(self, *, children: bool = False) -> None:
        assert self._process is not None and self._tree is not None
        self._tree.processes()
        below = self.children() if children else []
        self._process.kill()
        for pid in below:
            self.kill_child(pid)
        self._process.wait()

    def kill_child(self, pid: int) -> None:
        """SIGKILL to one of its processes."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        self._journal.killed(pid, time.monotonic())

    def freeze(self) -> None:
        """Stop all its processes, as a machine does that stands still."""
        for pid in (self.pid, *self.children()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let all of them go on."""
        for pid in (*self.children(), self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    def stop(self, timeout: float = 10.0) -> int | None:
        if self._process is None or self._tree is None:
            return None
        tree = self._tree
        tree.processes()
        asked = self._process.poll() is None
        if asked:
            self.thaw()
            self._process.terminate()
        end = time.monotonic() + timeout
        try:
            while asked and self._process.poll() is None and time.monotonic() < end:
                tree.processes()
                time.sleep(0.02)
        finally:
            ended = self._process.poll() is not None
            tree.kill()
            self._process.wait()
        return self._process.returncode if ended else None


class Program:
    """A process that runs beside, as a context: its input is closed at the end, and it is killed if it stays."""

    def __init__(self, command: list[str], environment: Mapping[str, str], log: IO[bytes]) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=FOLDER,
            env=dict(environment),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )

    def finish(self, timeout: float = 20.0) -> bool:
        """Ask it to end. Whether it did, in time."""
        if self.process.stdin is not None:
            with contextlib.suppress(OSError):
                self.process.stdin.close()
        try:
            self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            return False
        return True

    def kill(self) -> None:
        tree = Tree([self.process.pid]) if self.process.poll() is None else None
        if tree is not None:
            tree.kill()
        self.process.wait()


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Go on whatever an ending process or server raises: the rest has to be ended too."""
    try:
        yield
    except (OSError, psutil.Error, subprocess.SubprocessError):
        pass
