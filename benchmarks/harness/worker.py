"""A contender's worker: started in a session of its own, watched, and ended with everything it started."""

from __future__ import annotations

import subprocess
import time
from typing import Any

from harness.bench import Bench
from harness.failure import Failure
from harness.settings import FOLDER
from harness.tree import Tree

FIRST_TASK_TIMEOUT = 30.0
STALL_TIMEOUT = 30.0
STOP_TIMEOUT = 5.0
POLL = 0.005


class Worker:
    """The processes of one set-up, as a context. Leaving it ends them: asked first, killed after STOP_TIMEOUT."""

    def __init__(self, bench: Bench, setup: dict[str, Any]) -> None:
        self._bench = bench
        self._setup = setup
        self._processes: list[subprocess.Popen[bytes]] = []
        self.started = 0
        """Nanoseconds on the monotonic clock at the start of the first process."""

    def __enter__(self) -> Worker:
        try:
            with open(self._bench.log, "wb") as log:
                self.started = time.monotonic_ns()
                for number in range(self._setup["processes"]):
                    arguments = self._bench.arguments(self._setup["command"], number)
                    self._processes.append(
                        subprocess.Popen(
                            arguments,
                            cwd=FOLDER,
                            env=self._bench.environment(),
                            stdin=subprocess.DEVNULL,
                            stdout=log,
                            stderr=log,
                            start_new_session=True,
                        )
                    )
        except OSError as error:
            self.__exit__()
            raise Failure(f"{self._bench.contender} could not be started: {error}") from error
        except BaseException:
            self.__exit__()
            raise
        self.tree = Tree([process.pid for process in self._processes])
        return self

    def __exit__(self, *_: object) -> None:
        if not self._processes:
            return
        tree = Tree([process.pid for process in self._processes if process.poll() is None])
        tree.processes()
        for process in self._processes:
            process.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT
        try:
            while time.monotonic() < deadline and any(process.poll() is None for process in self._processes):
                tree.processes()
                time.sleep(0.02)
        finally:
            tree.kill()
            for process in self._processes:
                process.wait()

    def wait(self, count: int) -> None:
        """Return when `count` tasks have been executed. Raises Failure when the worker ends or nothing goes on."""
        done, last = 0, time.monotonic()
        while True:
            now = self._bench.ledger.count()
            if now >= count:
                return
            if now > done:
                done, last = now, time.monotonic()
            label = f"{self._bench.contender} {self._setup['label']} on {self._bench.broker}"
            if any(process.poll() is not None for process in self._processes):
                raise Failure(f"{label}: the worker ended after {now} of {count} tasks", self._bench.log)
            if time.monotonic() - last > (STALL_TIMEOUT if done else FIRST_TASK_TIMEOUT):
                raise Failure(f"{label}: stood still at {now} of {count} tasks", self._bench.log)
            time.sleep(POLL)
