"""CPU time and memory of a process and all its descendants."""

from __future__ import annotations

import time

import psutil


class Tree:
    """The processes under `roots`, which the caller started. An exited child counts once its parent has reaped it."""

    def __init__(self, roots: list[int]) -> None:
        self._roots = [psutil.Process(pid) for pid in roots]
        self._seen: dict[int, psutil.Process] = {}

    def processes(self) -> list[psutil.Process]:
        """The living ones; every process ever seen is remembered for `kill`."""
        found: list[psutil.Process] = []
        for root in self._roots:
            try:
                found += [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                continue
        self._seen.update({process.pid: process for process in found})
        return found

    def cpu(self) -> float:
        """User and system seconds so far."""
        total = 0.0
        for process in self.processes():
            try:
                times = process.cpu_times()
                total += _own_seconds(process.pid, times.user + times.system)
                total += getattr(times, "children_user", 0.0) + getattr(times, "children_system", 0.0)
            except psutil.NoSuchProcess:
                continue
        return total

    def memory(self) -> tuple[float, float]:
        """(RSS, PSS) in MB. RSS counts pages shared by a fork once a process, PSS once in all; where the
        system knows no PSS, the memory that is a process's own stands for it."""
        rss = pss = 0.0
        for process in self.processes():
            try:
                full = process.memory_full_info()
            except psutil.Error:
                continue
            rss += full.rss / 1e6
            pss += getattr(full, "pss", full.uss) / 1e6
        return rss, pss

    def kill(self) -> None:
        """End every process ever seen under the roots. A pid that was given to another process since is left alone."""
        self.processes()
        for process in self._seen.values():
            try:
                if process.is_running():
                    process.kill()
            except psutil.NoSuchProcess:
                continue


def _own_seconds(pid: int, ticks: float) -> float:
    """CPU seconds of a process by its own POSIX clock, which counts nanoseconds; `ticks` (1/100 s) where there is none.

    The clock's number is glibc's for clock_getcpuclockid: the complement of the pid above three bits for the kind.
    """
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except (OSError, OverflowError, AttributeError):
        return ticks
