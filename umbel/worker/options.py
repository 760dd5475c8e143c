"""The options of a worker, from its command line or from code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class WorkerOptions:
    """What a worker is asked to do; None follows the setting.

    Attributes:
        hostname: the node's name as given, such as ``w1@%h``.
        concurrency: how many tasks run at once, or ``auto`` for as many as the container has processors.
        autoscale: the largest and the smallest number of tasks that run at once, instead of one number.
        pool: the name of the pool's plugin.
        queues: names of the queues to read.
        exclude_queues: names of configured queues not to read.
        include: more modules to import.
        prefetch_multiplier: tasks held for each slot.
        loglevel: by name or number.
        logfile: where to log instead of stderr.
        time_limit: hard time limit in seconds, for tasks without one.
        soft_time_limit: likewise the soft one.
        max_tasks_per_child: replace a pool process after so many tasks.
        max_memory_per_child: replace a pool process that grew over so many KiB.
        purge: drop what waits in the queues first.
        statedb: the file in which revokes are kept; ``%n`` and such stand for parts of the node's name.
        without_heartbeat: do not announce the worker's life; leases are kept alive all the same.
        without_gossip: take no part in gossip.
        without_mingle: ask no other workers at the start.
        no_color: no colours; None for by terminal.
        quiet: no banner.
        install_signals: handle signals; off when the worker runs inside another program.
        extra: options of the app's own, for its steps.
    """

    hostname: str | None = None
    concurrency: int | str | None = None
    autoscale: tuple[int, int] | None = None
    pool: str | None = None
    queues: list[str] | None = None
    exclude_queues: list[str] | None = None
    include: list[str] | None = None
    prefetch_multiplier: int | None = None
    loglevel: str | int | None = "WARNING"
    logfile: str | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    max_tasks_per_child: int | None = None
    max_memory_per_child: int | None = None
    purge: bool = False
    statedb: str | None = None
    without_heartbeat: bool = False
    without_gossip: bool = False
    without_mingle: bool = False
    no_color: bool | None = None
    quiet: bool = False
    install_signals: bool = True
    extra: dict[str, Any] = field(default_factory=dict)
