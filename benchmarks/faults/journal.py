"""The bench's side of the journal: reads what the tasks wrote, and says when a run ended that wrote no end."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from faults.scenario import Figures

WATCH = 0.02
"""Seconds between two looks at the processes whose tasks have not ended: the grain of a killed run's end."""


@dataclass
class Run:
    """One run of a task. Times are seconds of the monotonic clock."""

    task_id: str
    pid: int
    worker: str
    begin: float
    end: float | None = None
    died: float | None = None
    """When its process was seen to be gone, of a run that wrote no end."""

    @property
    def over(self) -> float:
        """When it did nothing any more; infinity while it runs."""
        return self.end if self.end is not None else self.died if self.died is not None else float("inf")


class Journal:
    """Reads the file in a thread of its own, and watches the processes of runs that have not ended."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()
        self._file = path.open("rb")
        self._rest = b""
        self._runs: dict[str, list[Run]] = defaultdict(list)
        self._open: dict[tuple[str, int], Run] = {}
        self._ended: set[str] = set()
        self._order: list[Run] = []
        self.last = time.monotonic()
        """When something was written that was not there before."""
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._file.close()

    def _watch(self) -> None:
        while not self._over.wait(WATCH):
            self.look()

    def look(self) -> None:
        """Read what is new."""
        with self._lock:
            data = self._file.read()
            if data:
                self.last = time.monotonic()
                *lines, self._rest = (self._rest + data).split(b"\n")
                for line in lines:
                    self._take(line.decode())
            for key, run in list(self._open.items()):
                if not alive(run.pid):
                    run.died = time.monotonic()
                    del self._open[key]

    def _take(self, line: str) -> None:
        words = line.split()
        if len(words) != 5:
            return  # a malformed id was run, which nobody asks for
        kind, task_id, pid, worker, at = words
        key = (task_id, int(pid))
        if kind == "B":
            run = Run(task_id, int(pid), worker, int(at) / 1e9)
            self._runs[task_id].append(run)
            self._order.append(run)
            self._open[key] = run
            return
        self._ended.add(task_id)
        ended = self._open.pop(key, None) or next((r for r in reversed(self._runs[task_id]) if r.pid == key[1]), None)
        if ended is not None:
            ended.end, ended.died = int(at) / 1e9, None

    def killed(self, pid: int, at: float) -> None:
        """The bench has killed a process at that time. Better known than seen: its task may begin anew at once."""
        self.look()
        with self._lock:
            for key, run in list(self._open.items()):
                if run.pid == pid:
                    run.died = at
                    del self._open[key]
            for run in self._order[-100:]:
                if run.pid == pid and run.died is not None:
                    run.died = min(run.died, at)

    def ended(self) -> set[str]:
        self.look()
        with self._lock:
            return set(self._ended)

    def runs(self, task_id: str) -> int:
        self.look()
        return len(self._runs.get(task_id, ()))

    def of(self, task_id: str) -> list[Run]:
        """The runs of a task, in the order of their begins."""
        self.look()
        with self._lock:
            return sorted(self._runs.get(task_id, ()), key=lambda run: run.begin)

    def going(self) -> list[Run]:
        """The runs that go on now."""
        self.look()
        with self._lock:
            return list(self._open.values())

    def begun(self, since: float = 0.0, worker: str | None = None) -> list[Run]:
        """The runs that began since then, of one worker or of all, in their order."""
        self.look()
        with self._lock:
            found = [run for run in self._order if run.begin >= since and worker in (None, run.worker)]
        return sorted(found, key=lambda run: run.begin)

    def count(self, ids: Iterable[str]) -> Figures:
        self.look()
        figures = Figures(tasks=0, lost=0, twice=0, overlapping=0)
        found: Counter[str] = Counter()
        with self._lock:
            for task_id in ids:
                found["tasks"] += 1
                runs = sorted(self._runs.get(task_id, ()), key=lambda run: run.begin)
                ends = sum(run.end is not None for run in runs)
                found["lost"] += ends == 0
                found["twice"] += ends > 1
                found["overlapping"] += _overlap(runs)
        figures.tasks, figures.lost = found["tasks"], found["lost"]
        figures.twice, figures.overlapping = found["twice"], found["overlapping"]
        return figures


def _overlap(runs: list[Run]) -> bool:
    until = 0.0
    for run in runs:
        if run.begin < until:
            return True
        until = max(until, run.over)
    return False


def alive(pid: int) -> bool:
    """Whether a process is there and runs; one that waits to be reaped does not."""
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
