"""What a pool says of itself."""

from __future__ import annotations

import time
from typing import Any

from umbel_kernel.spi.pool import PoolOptions
from umbel_pool_prefork.backlog import Backlog
from umbel_pool_prefork.brood import Brood


def facts(size: int, options: PoolOptions, brood: Brood, backlog: Backlog) -> dict[str, Any]:
    """Facts for people and remote control, under Celery's names where it has one."""
    now = time.monotonic()
    running = {}
    for slot in brood:
        found = slot.running()
        if found is not None:
            running[slot.pid] = {"job": found[1].id, "seconds": round(now - found[2], 3)}
    return {
        "implementation": "umbel-pool-prefork",
        "max-concurrency": size,
        "processes": [slot.pid for slot in brood.working if slot.pid],
        "max-tasks-per-child": options.max_jobs_per_child or "N/A",
        "max-memory-per-child": options.max_memory_per_child or "N/A",
        "put-guarded-by-semaphore": False,
        "timeouts": [0, 0],
        "running": running,
        "waiting": len(backlog),
        "staged": sum(len(slot.staged) for slot in brood.working),
        "seconds-per-job": round(backlog.pace.seconds, 6),
    }
