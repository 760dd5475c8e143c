"""Everything at once: kills, stops, limits, cancels, withdrawals and resizing, by chance with a seed."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from umbel_kernel.errors import SoftTimeLimitExceeded, Terminated, TimeLimitExceeded, WorkerLostError
from umbel_kernel.spi.pool import Job, PoolOptions

LARGE = 300_000
DEEDS = {"quick": 900, "nap": 60, "vanish": 5, "large": 15, "soft": 10, "hang": 10}


def make_job(number: int, deed: str) -> Job:
    limits: dict[str, Any] = {"soft": {"soft_limit": 0.02}, "hang": {"hard_limit": 0.03}}.get(deed, {})
    return Job(number, deed.encode(), {}, **limits)


@pytest.mark.parametrize("seed", [1, 4, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(5, 15))])
def test_each_job_runs_at_most_once_and_ends_exactly_once(
    open_loop: Callable[..., Any], tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    ran_file = os.open(tmp_path / "ran", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def act(job: Job) -> Any:
        os.write(ran_file, b"%d\n" % job.id)
        deed = job.body.decode()
        if deed == "nap":
            time.sleep(0.003)
        elif deed == "vanish":
            os._exit(3)
        elif deed == "large":
            return b"z" * LARGE
        elif deed in ("soft", "hang"):
            try:
                time.sleep(20)
            except SoftTimeLimitExceeded:
                return "soft"
        return job.id

    options = PoolOptions(max_jobs_per_child=chance.choice([None, 7, 50]))
    loop = open_loop(chance.choice([1, 2, 4]), act, options)
    total = 1000
    deeds = chance.choices(list(DEEDS), list(DEEDS.values()), k=total)
    withdrawn: set[int] = set()
    cancelled: set[int] = set()
    stopped: list[tuple[float, int]] = []
    sent = 0
    end = time.monotonic() + 60
    while len(loop.outcomes) + len(withdrawn) < total:
        assert time.monotonic() < end, f"{loop.pool.info()}, {len(loop.outcomes)} outcomes"
        if sent < total and sent - len(loop.outcomes) - len(withdrawn) < 100:
            loop.pool.submit([make_job(number, deeds[number]) for number in range(sent, sent + 50)])
            sent += 50
        event = chance.choices(
            ["none", "kill", "withdraw", "cancel", "grow", "shrink", "stop"], [85, 3, 5, 3, 1, 2, 1]
        )[0]
        pids = loop.pool.info()["processes"]
        if event == "kill" and pids:
            _send(chance.choice(pids), signal.SIGKILL)
        elif event == "withdraw":
            withdrawn.update(loop.pool.withdraw(sorted({chance.randrange(sent) for _ in range(5)})))
        elif event == "cancel":
            running = [facts["job"] for facts in loop.pool.info()["running"].values()]
            cancelled.update(job_id for job_id in running[:1] if loop.pool.cancel(job_id, "TERM"))
        elif event == "grow" and loop.pool.size < 5:
            loop.pool.grow(1)
        elif event == "shrink" and loop.pool.size > 1:
            loop.pool.shrink(1)
        elif event == "stop" and pids:
            stopped.append((time.monotonic() + chance.choice([0.01, 0.2, 1.3]), chance.choice(pids)))
            _send(stopped[-1][1], signal.SIGSTOP)
        for until, pid in [entry for entry in stopped if entry[0] < time.monotonic()]:
            stopped.remove((until, pid))
            _send(pid, signal.SIGCONT)
        loop.turn(0.05)
    for _, pid in stopped:
        _send(pid, signal.SIGCONT)
    os.close(ran_file)

    ran = Counter(map(int, (tmp_path / "ran").read_text().split()))
    assert set(ran.values()) == {1}
    assert not withdrawn & (ran.keys() | loop.outcomes.keys())
    for job_id, outcome in loop.outcomes.items():
        deed, error = deeds[job_id], outcome.error
        if error is None:
            assert job_id in ran
            assert outcome.value == {"large": b"z" * LARGE, "soft": "soft"}.get(deed, job_id)
        elif isinstance(error, Terminated):
            assert job_id in cancelled
        elif isinstance(error, TimeLimitExceeded):
            assert deed == "hang"
        else:
            assert type(error) is WorkerLostError


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        # The pool has buried it since.
        return
