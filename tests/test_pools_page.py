"""The table of docs/pools.md says of each pool what its class says."""

from __future__ import annotations

from pathlib import Path

from umbel_kernel.plugins import load
from umbel_kernel.spi.pool import PoolCapability

PAGE = Path(__file__).resolve().parent.parent / "docs" / "pools.md"
LINES = {
    "soft time limit": PoolCapability.SOFT_TIME_LIMIT,
    "hard time limit": PoolCapability.HARD_TIME_LIMIT,
    "`revoke(terminate=True)`": PoolCapability.TERMINATE,
    "grows and shrinks": PoolCapability.RESIZE,
    "replaces children": PoolCapability.RECYCLE,
    "survives a crash": PoolCapability.PROCESSES,
}


def test_the_table_is_true() -> None:
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in PAGE.read_text("utf-8").split("\n\n")[2].splitlines()
    ]
    pools = [name.strip("`") for name in rows[0][1:]]
    assert {"prefork", "threads", "solo", "asyncio", "gevent", "eventlet"} == set(pools)
    said = {cells[0]: [cell == "yes" for cell in cells[1:]] for cells in rows[2:]}
    assert said.keys() >= LINES.keys()
    for line, capability in LINES.items():
        assert said[line] == [capability in load("pools", pool).capabilities for pool in pools], line
    assert said["coroutines side by side"] == [
        bool({PoolCapability.ASYNC, PoolCapability.ONE_THREAD} & load("pools", pool).capabilities) for pool in pools
    ]
