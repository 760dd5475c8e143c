"""How many processors the worker may use: those that it may run on, and what its container is given."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path


def cpu_count() -> int:
    """The processors that this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def allowed(root: Path = Path("/")) -> int:
    """The processors that this process may use up: those it may run on, or fewer where its control group has a quota.

    A quota of two and a half processors counts as three, so that it is used up.

    Args:
        root: of the file system.
    """
    quota = min(_quotas(root), default=math.inf)
    return cpu_count() if quota == math.inf else max(1, min(cpu_count(), math.ceil(quota)))


def _quotas(root: Path) -> Iterator[float]:
    """Processors that each control group gives which this process is in, by cgroups(7), of version 1 or 2.

    A group has no more than those above it. Within a container its own group often is the top of what is mounted, so
    the path that the system tells may not be there, while what is above it is.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text("utf-8").splitlines()
    except OSError:
        return
    mounted = root / "sys/fs/cgroup"
    for line in lines:
        _, controllers, path = [*line.split(":", 2), "", ""][:3]
        inner = Path(path.lstrip("/"))
        if not controllers:
            for group in (inner, *inner.parents):
                yield from _version_2(mounted / group)
                yield from _version_2(mounted / "unified" / group)
        elif "cpu" in controllers.split(","):
            for name in dict.fromkeys(("cpu", controllers, "cpu,cpuacct")):
                for group in (inner, *inner.parents):
                    yield from _version_1(mounted / name / group)


def _version_2(group: Path) -> Iterator[float]:
    with contextlib.suppress(OSError, ValueError):
        quota, period = (group / "cpu.max").read_text("utf-8").split()
        if quota != "max" and int(period) > 0:
            yield int(quota) / int(period)


def _version_1(group: Path) -> Iterator[float]:
    with contextlib.suppress(OSError, ValueError):
        quota = int((group / "cpu.cfs_quota_us").read_text("utf-8"))
        period = int((group / "cpu.cfs_period_us").read_text("utf-8"))
        if quota > 0 and period > 0:
            yield quota / period
