"""Children that die, hang and misbehave."""

from __future__ import annotations

import contextlib
import ctypes
import datetime
import faulthandler
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from umbel_kernel.errors import PoolError, Terminated, TimeLimitExceeded, WorkerLostError
from umbel_kernel.spi.pool import Job, PoolOptions


def act(job: Job) -> Any:
    """What the body says."""
    verb, _, rest = job.body.decode().partition(" ")
    if verb == "sleep":
        time.sleep(float(rest))
    elif verb == "exit":
        sys.exit(int(rest))
    elif verb == "vanish":
        os._exit(int(rest))
    elif verb == "kill":
        os.kill(os.getpid(), int(rest))
    elif verb == "segfault":
        faulthandler.disable()
        ctypes.string_at(0)
    elif verb == "raise":
        raise ValueError(rest)
    elif verb == "interrupt":
        raise KeyboardInterrupt
    elif verb == "closefds":
        os.closerange(3, 256)
        time.sleep(float(rest))
    elif verb == "fork":
        os.fork()
    elif verb == "orphan":
        if not os.fork():
            time.sleep(float(rest))
            os._exit(0)
        os._exit(9)
    elif verb == "object":
        return object()
    elif verb == "large":
        return b"x" * int(rest)
    elif verb == "pid":
        return os.getpid()
    elif verb == "headers":
        return repr(job.headers)
    elif verb == "append":
        path, _, seconds = rest.partition(" ")
        time.sleep(float(seconds or 0))
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{job.id}\n".encode())
        os.close(file)
    return job.id


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("vanish 0", "exit code 0"),
        ("vanish 7", "exit code 7"),
        ("kill 9", "SIGKILL"),
        ("segfault", "SIGSEGV"),
        ("closefds 0", "exit code 1"),
    ],
)
def test_job_that_ends_its_process_is_lost_and_the_others_are_not(
    open_loop: Callable[..., Any], job: Callable[..., Job], body: str, said: str
) -> None:
    loop = open_loop(2, act)
    jobs = [job(number, body if number == 20 else "") for number in range(60)]
    outcomes = loop.run(jobs)
    assert isinstance(outcomes[20].error, WorkerLostError)
    assert said in str(outcomes[20].error)
    assert [outcome.value for outcome in outcomes if outcome.job_id != 20] == [n for n in range(60) if n != 20]
    assert sorted(loop.started) == list(range(60))
    loop.ready()


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        ("exit 3", WorkerLostError, "SystemExit(3)"),
        ("interrupt", WorkerLostError, "KeyboardInterrupt"),
        ("raise dear me", PoolError, "ValueError: dear me"),
        ("object", PoolError, "cannot be carried"),
    ],
)
def test_job_that_breaks_its_promise_leaves_the_child_alive(
    open_loop: Callable[..., Any], job: Callable[..., Job], body: str, kind: type[Exception], said: str
) -> None:
    loop = open_loop(1, act)
    (before, bad, after) = loop.run([job(1, "pid"), job(2, body), job(3, "pid")])
    assert type(bad.error) is kind
    assert said in str(bad.error)
    assert before.value == after.value


def test_random_kills_under_load_leave_each_job_one_outcome(
    open_loop: Callable[..., Any], job: Callable[..., Job]
) -> None:
    chance = random.Random(7)
    loop = open_loop(3, act)
    loop.ready()
    left = [job(number, f"sleep {chance.choice([0, 0, 0, 0.001, 0.004])}") for number in range(2000)]
    kills, pending = 0, 0
    while len(loop.outcomes) < 2000:
        pending = 2000 - len(left) - len(loop.outcomes)
        if pending < 120:
            loop.pool.submit(left[:60])
            del left[:60]
        if len(loop.outcomes) > kills * 80 and loop.pool.info()["processes"]:
            os.kill(chance.choice(loop.pool.info()["processes"]), signal.SIGKILL)
            kills += 1
        loop.turn(0.5)
    lost = [outcome for outcome in loop.outcomes.values() if outcome.error is not None]
    assert all(isinstance(outcome.error, WorkerLostError) and "SIGKILL" in str(outcome.error) for outcome in lost)
    assert kills >= 20
    assert len(lost) <= kills
    assert sorted(loop.started) == list(range(2000))
    loop.ready()


def test_kills_never_make_a_job_run_twice(
    open_loop: Callable[..., Any], job: Callable[..., Job], tmp_path: Any
) -> None:
    chance = random.Random(8)
    loop = open_loop(2, act)
    loop.ready()
    path = tmp_path / "ran"
    path.touch()
    loop.pool.submit([job(number, f"append {path}") for number in range(1500)])
    kills = 0
    while len(loop.outcomes) < 1500:
        loop.turn(0.5)
        if len(loop.outcomes) > (kills + 1) * 100 and loop.pool.info()["processes"]:
            with contextlib.suppress(ProcessLookupError):  # the one killed before, which the pool has not missed yet
                os.kill(chance.choice(loop.pool.info()["processes"]), signal.SIGKILL)
                kills += 1
    ran = [int(line) for line in path.read_text().split()]
    assert len(ran) == len(set(ran))
    done = {number for number, outcome in loop.outcomes.items() if outcome.error is None}
    assert done <= set(ran)
    assert kills >= 5


def test_jobs_of_a_stopped_child_go_to_others(open_loop: Callable[..., Any], job: Callable[..., Job]) -> None:
    loop = open_loop(2, act)
    loop.ready()
    stopped = loop.pool.info()["processes"][0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        outcomes = loop.run([job(number, "pid") for number in range(20)], within=10)
        assert stopped not in [outcome.value for outcome in outcomes]
    finally:
        os.kill(stopped, signal.SIGCONT)
    loop.until(lambda: not any(slot.silent for slot in loop.pool._brood.working), what="the child to be used again")
    values = [outcome.value for outcome in loop.run([job(number, "pid") for number in range(100, 140)])]
    assert set(values) == set(loop.pool.info()["processes"])


def test_children_that_die_at_birth_break_the_pool_and_say_why(open_loop: Callable[..., Any]) -> None:
    def fail() -> None:
        raise RuntimeError("no such database")

    loop = open_loop(1, act, PoolOptions(initialize=fail))
    began = time.monotonic()
    with pytest.raises(PoolError, match=r"5 child processes in a row died .* no such database"):
        loop.until(lambda: False, within=10)
    assert time.monotonic() - began < 5
    with pytest.raises(PoolError, match="no such database"):
        loop.pool.submit([])
    assert loop.pool.next_check() == 0.0


def test_child_that_does_not_report_in_time_is_replaced(
    open_loop: Callable[..., Any], job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def hang(parent: int) -> None:
        if not (tmp_path / "go on").exists():
            os.kill(os.getpid(), signal.SIGSTOP)

    monkeypatch.setattr("umbel_pool_prefork.child.die_with_parent", hang)
    loop = open_loop(1, act, PoolOptions(alive_timeout=0.3))
    loop.until(lambda: loop.pool.info()["processes"])
    (stuck,) = loop.pool.info()["processes"]
    loop.until(lambda: not _is_alive(stuck) or _state(stuck) == "T", what="the child to stop")
    (tmp_path / "go on").touch()
    (outcome,) = loop.run([job(1, "pid")])
    assert outcome.error is None
    assert outcome.value != stuck


def test_job_that_forks_and_comes_back_reports_once(open_loop: Callable[..., Any], job: Callable[..., Job]) -> None:
    loop = open_loop(1, act)
    outcomes = loop.run([job(1, "pid"), job(2, "fork"), job(3, "fork"), job(4, "pid")])
    assert [outcome.error for outcome in outcomes] == [None] * 4
    assert outcomes[0].value == outcomes[3].value


def test_death_is_seen_although_a_grandchild_holds_the_socket(
    open_loop: Callable[..., Any], job: Callable[..., Job]
) -> None:
    loop = open_loop(1, act)
    began = time.monotonic()
    (outcome,) = loop.run([job(1, "orphan 8")])
    assert "exit code 9" in str(outcome.error)
    assert time.monotonic() - began < 6


def test_job_that_closes_its_connection_and_goes_on_is_ended(
    open_loop: Callable[..., Any], job: Callable[..., Job]
) -> None:
    loop = open_loop(1, act)
    began = time.monotonic()
    (outcome,) = loop.run([job(1, "closefds 30")])
    assert isinstance(outcome.error, WorkerLostError)
    assert "without its connection" in str(outcome.error)
    assert time.monotonic() - began < 10


def test_huge_results_and_bodies_pass(open_loop: Callable[..., Any], job: Callable[..., Job]) -> None:
    loop = open_loop(2, act)
    jobs = [job(number, f"large {5_000_000 + number}") for number in range(6)]
    assert [len(outcome.value) for outcome in loop.run(jobs)] == [5_000_000 + number for number in range(6)]
    bodies = [Job(10 + number, b"pid " + b"y" * 5_000_000, {}) for number in range(4)]
    assert all(outcome.error is None for outcome in loop.run(bodies))


def test_headers_that_marshal_does_not_know_are_carried(open_loop: Callable[..., Any], job: Callable[..., Job]) -> None:
    loop = open_loop(1, act)
    moment = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)
    plain, dated = loop.run([job(1, "headers"), job(2, "headers", headers={"eta": moment})])
    assert plain.value == repr({"task": "t"})
    assert dated.value == repr({"eta": moment})


def test_job_that_cannot_be_carried_fails_alone(open_loop: Callable[..., Any], job: Callable[..., Job]) -> None:
    loop = open_loop(1, act)
    good, bad, other = loop.run([job(1), job(2, headers={"f": lambda: None}), job(3)])
    assert (good.value, other.value) == (1, 3)
    assert isinstance(bad.error, PoolError)
    assert "job 2 cannot be carried" in str(bad.error)


def test_time_limits(open_loop: Callable[..., Any], job: Callable[..., Job]) -> None:
    def nap(task: Job) -> Any:
        try:
            time.sleep(30)
        except Exception as error:
            return f"{type(error).__name__}{error.args}"
        return None

    loop = open_loop(2, nap)
    began = time.monotonic()
    soft, hard = loop.run([job(1, soft_limit=0.2, hard_limit=20.0), job(2, hard_limit=0.4)], within=10)
    assert soft.value == "SoftTimeLimitExceeded(0.2,)"
    assert isinstance(hard.error, TimeLimitExceeded)
    assert hard.error.args == (0.4,)
    assert 0.4 <= time.monotonic() - began < 3


def test_soft_limit_never_strikes_another_job(open_loop: Callable[..., Any], job: Callable[..., Job]) -> None:
    def nap(task: Job) -> Any:
        try:
            end = time.monotonic() + (0.03 if task.soft_limit else 0.01)
            while time.monotonic() < end:
                pass
        except Exception as error:
            return f"{type(error).__name__}{error.args}"
        return "done"

    loop = open_loop(1, nap)
    jobs = [job(number, soft_limit=0.03 if number % 2 else None) for number in range(60)]
    outcomes = loop.run(jobs)
    assert {outcome.value for outcome in outcomes[::2]} == {"done"}
    assert all(outcome.error is None for outcome in outcomes)
    assert {outcome.value for outcome in outcomes[1::2]} <= {"done", "SoftTimeLimitExceeded(0.03,)"}


def test_cancel_ends_the_running_job_alone(open_loop: Callable[..., Any], job: Callable[..., Job]) -> None:
    loop = open_loop(1, act)
    loop.pool.submit([job(1, "sleep 30"), *(job(number) for number in range(2, 30))])
    loop.until(lambda: 1 in loop.started, what="the first job to start")
    assert not loop.pool.cancel(2)
    with pytest.raises(PoolError, match="no signal 'NONE'"):
        loop.pool.cancel(1, "NONE")
    assert loop.pool.cancel(1, "TERM")
    loop.until(lambda: len(loop.outcomes) == 29, what="all outcomes")
    assert isinstance(loop.outcomes[1].error, Terminated)
    assert [loop.outcomes[number].value for number in range(2, 30)] == list(range(2, 30))
    assert not loop.pool.cancel(1)


PARENT = """
import os, sys, time
from umbel_kernel.spi.pool import Job, PoolOptions
from umbel_pool_prefork import PreforkPool

def execute(job):
    os.write(1, f"{os.getpid()}\\n".encode())
    while True:
        pass

pool = PreforkPool()
pool.open(3, execute, lambda: None, PoolOptions())
pool.submit([Job(1, b"", {}), Job(2, b"", {})])
while True:
    pool.collect()
    time.sleep(0.01)
"""


def _is_alive(pid: int) -> bool:
    """Whether a process is there and no zombie: who reaps an orphan, and when, is not the pool's business."""
    try:
        return _state(pid) != "Z"
    except FileNotFoundError:
        return False


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()[0]


def _children(pid: int) -> list[int]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [int(text) for text in file.read().split()]


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
def test_children_are_gone_when_the_parent_is_killed() -> None:
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(PARENT)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    try:
        busy = [int(parent.stdout.readline()) for _ in range(2)]
        (server,) = _children(parent.pid)
        children = _children(server)
        assert set(busy) < set(children)
        assert len(children) == 3
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    end = time.monotonic() + 1.0
    while any(_is_alive(pid) for pid in [server, *children]):
        assert time.monotonic() < end, "children outlived their parent by a second"
        time.sleep(0.01)
