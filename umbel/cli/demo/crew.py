"""The demo's worker: a process of its own, started as a user would start it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from umbel.cli.demo.place import Place
from umbel_kernel.errors import UmbelError

_GRACE = 10.0


class WorkerGone(UmbelError):
    """The demo's worker ended before its work did."""


class Crew:
    """A running worker.

    Args:
        process: its process.
        log: the file it writes to.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self._process = process
        self._log = log

    def check(self) -> None:
        """See that it still runs.

        Raises:
            WorkerGone: it does not; the message has the end of its log.
        """
        code = self._process.poll()
        if code is not None:
            end = "\n".join(self._log.read_text("utf-8", "replace").splitlines()[-15:])
            raise WorkerGone(f"the worker ended with exit code {code}; this is the end of its log:\n{end}")

    def end(self) -> None:
        """Let it end in good order, and kill it when it does not."""
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextmanager
def crew(place: Place, slots: int) -> Iterator[Crew]:
    """A worker at a place, with so many slots, that is ended on the way out."""
    words = ["-m", "umbel", "-A", "umbel.cli.demo.tasks", "worker", "-l", "INFO", "-n", f"{place.queue}@%h"]
    words += ["-c", str(slots), "-Q", place.queue, "--without-gossip", "--without-mingle"]
    with place.log.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=place.directory,
            # Ctrl-C is for the demo, which then ends its worker.
            start_new_session=True,
        )
    running = Crew(process, place.log)
    try:
        yield running
    finally:
        running.end()
