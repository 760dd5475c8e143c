"""A server's process: started in a session of its own, so that Ctrl-C reaches it only through the bench."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from harness.failure import Failure


class Process:
    """A server that is started, stopped and started again on the same data."""

    def __init__(
        self, command: list[str], *, log: Path, answers: Callable[[], object], timeout: float, env: Mapping[str, str]
    ) -> None:
        self._command = command
        self._log = log
        self._answers = answers
        self._timeout = timeout
        self._env = dict(env)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and return when it answers. Raises Failure when it does not."""
        with open(self._log, "ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + self._timeout
        while True:
            try:
                self._answers()
            except Exception as error:
                if self._process.poll() is not None:
                    raise Failure(f"{self._command[0]} ended while it started", self._log) from error
                if time.monotonic() > end:
                    raise Failure(f"{self._command[0]} does not answer: {error}", self._log) from error
                time.sleep(0.05)
            else:
                if self._process.poll() is None:
                    return
                raise Failure(f"{self._command[0]} ended, and another server answers at its port", self._log)

    def stop(self) -> None:
        """Ask it to end, then make it."""
        process, self._process = self._process, None
        if process is None:
            return
        for number, patience in ((signal.SIGTERM, 30.0), (signal.SIGKILL, 5.0)):
            try:
                os.killpg(process.pid, number)
                process.wait(patience)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                continue
            else:
                break
        process.wait(5.0)
