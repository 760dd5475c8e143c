"""How the pool opens, shares out work, recycles, resizes and ends."""

from __future__ import annotations

import gc
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from umbel_kernel.errors import PoolError
from umbel_kernel.spi.pool import Job, PoolOptions
from umbel_pool_prefork import PreforkPool
from umbel_pool_prefork.watcher import GateWatcher


def act(job: Job) -> Any:
    """What the body says."""
    verb, _, rest = job.body.decode().partition(" ")
    if verb == "sleep":
        time.sleep(float(rest))
    elif verb == "stubborn":
        seconds, _, ready = rest.partition(" ")
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        Path(ready).touch()
        time.sleep(float(seconds))
    elif verb == "swell":
        swollen.append(bytearray(os.urandom(1024)) * 1024 * int(rest))
    elif verb == "wait":
        while not os.path.exists(rest):
            time.sleep(0.002)
    elif verb == "files":
        links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
        return [os.readlink(link) for link in links if os.path.lexists(link)]
    elif verb == "signals":
        return [signal.getsignal(number) == signal.SIG_DFL for number in (signal.SIGTERM, signal.SIGHUP)]
    return os.getpid()


swollen: list[bytearray] = []


def test_jobs_of_10_ms_find_their_children_waiting_for_nothing(
    open_loop: Callable[..., Any], job: Callable[..., Job]
) -> None:
    """While there is work every child has the next job before it has ended one: counted, not timed."""
    loop = open_loop(4, act)
    loop.ready()
    loop.run([job(number, "sleep 0.01") for number in range(40)])
    loop.pool.submit([job(number, "sleep 0.01") for number in range(40, 440)])
    looks, bare = 0, 0
    while len(loop.pool._backlog) > 20:
        loop.turn(0.5)
        looks += 4
        bare += sum(not slot.staged for slot in loop.pool._brood.working)
    assert looks > 100
    assert bare <= looks // 20
    loop.until(lambda: len(loop.outcomes) == 440, what="outcomes")


def test_a_job_staged_behind_a_long_one_goes_to_a_child_that_is_idle(
    open_loop: Callable[..., Any], job: Callable[..., Job]
) -> None:
    loop = open_loop(2, act)
    loop.ready()
    loop.run([job(number, "sleep 0.01") for number in range(100)])
    began = time.monotonic()
    loop.pool.submit([job(1000, "sleep 5"), *(job(1001 + number, "sleep 0.01") for number in range(30))])
    loop.until(lambda: len(loop.outcomes) == 130, what="all but the long one")
    assert time.monotonic() - began < 4
    assert 1000 not in loop.outcomes


def test_nothing_is_left_behind(open_loop: Callable[..., Any], job: Callable[..., Job]) -> None:
    # Other tests of this process may have left files to the collector: only new ones count.
    gc.collect()
    before, others = _files(), _children()
    for _ in range(2):
        loop = open_loop(3, act, PoolOptions(max_jobs_per_child=4))
        loop.run([job(number) for number in range(40)])
        loop.ready()
        pids = loop.pool.info()["processes"]
        os.kill(pids[0], signal.SIGKILL)
        loop.pool.close()
        loop.pool.terminate()
        loop.pool.terminate()
        assert loop.pool.collect().finished == []
        assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)
    # Each loop of the test has a pipe of its own, closed after the test.
    assert len(_files() - before) == 4
    assert _children() == others


def _children() -> list[str]:
    return Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()


def _files() -> set[tuple[str, str]]:
    found = set()
    for number in os.listdir("/proc/self/fd"):
        try:
            found.add((number, os.readlink(f"/proc/self/fd/{number}")))
        except FileNotFoundError:  # the one of the listing itself
            continue
    return found


def _watchers(names: Iterable[str]) -> int:
    return sum("eventpoll" in name or "pidfd" in name for name in names)


def test_child_holds_no_file_of_its_siblings(open_loop: Callable[..., Any], job: Callable[..., Job]) -> None:
    others = _watchers(name for _, name in _files())
    loop = open_loop(4, act)
    loop.ready()
    ours = {os.readlink(f"/proc/self/fd/{slot.connection.fileno()}") for slot in loop.pool._brood.working}
    assert len(ours) == 4
    (outcome,) = loop.run([job(1, "files")])
    assert not ours & set(outcome.value)
    assert _watchers(outcome.value) <= others


def test_long_job_holds_nobody_up(open_loop: Callable[..., Any], job: Callable[..., Job], tmp_path: Path) -> None:
    loop = open_loop(2, act)
    loop.run([job(number) for number in range(400)])
    assert loop.pool._backlog.pace.depth > 10
    gate = tmp_path / "gate"
    loop.pool.submit([job(number, f"wait {gate}" if number == 1003 else "") for number in range(1000, 1100)])
    loop.until(lambda: len(loop.outcomes) == 499, within=2, what="all jobs but the long one")
    assert 1003 in loop.started
    gate.touch()
    loop.until(lambda: 1003 in loop.outcomes)


def test_start_of_a_long_job_is_told_at_once(
    open_loop: Callable[..., Any], job: Callable[..., Job], tmp_path: Path
) -> None:
    loop = open_loop(1, act)
    loop.ready()
    loop.pool.submit([job(1, f"wait {tmp_path / 'gate'}")])
    began = time.monotonic()
    loop.until(lambda: 1 in loop.started)
    assert time.monotonic() - began < 0.5
    assert loop.pool.next_check() is None
    (tmp_path / "gate").touch()
    loop.until(lambda: 1 in loop.outcomes)


def test_staged_jobs_can_be_withdrawn(open_loop: Callable[..., Any], job: Callable[..., Job], tmp_path: Path) -> None:
    loop = open_loop(1, act)
    loop.run([job(number) for number in range(400)])
    loop.pool.submit([job(1000, f"wait {tmp_path / 'gate'}"), *(job(number) for number in range(1001, 1011))])
    assert len(loop.pool._brood.working[0].staged) == 11
    loop.until(lambda: 1000 in loop.started)
    assert sorted(loop.pool.withdraw([1000, 1002, 1004, 7777])) == [1002, 1004]
    (tmp_path / "gate").touch()
    loop.until(lambda: len(loop.outcomes) == 409)
    loop.turn(0.05)
    assert not {1002, 1004} & loop.outcomes.keys()


def test_withdrawing_while_children_run_is_exact(
    open_loop: Callable[..., Any], job: Callable[..., Job], tmp_path: Path
) -> None:
    def note(task: Job) -> None:
        os.write(file, b"%d\n" % task.id)

    file = os.open(tmp_path / "ran", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    loop = open_loop(2, note)
    loop.run([job(number) for number in range(400)])
    withdrawn: set[int] = set()
    for start in range(1000, 9000, 100):
        loop.pool.submit([job(number) for number in range(start, start + 100)])
        time.sleep(0.0002 * (start // 100 % 5))
        withdrawn.update(loop.pool.withdraw(range(start, start + 100, 3)))
    loop.until(lambda: len(loop.outcomes) + len(withdrawn) == 8400, what="every job to end or to be withdrawn")
    os.close(file)
    ran = Counter(map(int, (tmp_path / "ran").read_text().split()))
    assert not withdrawn & ran.keys()
    assert withdrawn | ran.keys() == {*range(400), *range(1000, 9000)}
    assert set(ran.values()) == {1}
    assert len(withdrawn) > 100


def test_children_are_recycled_in_good_order(
    open_loop: Callable[..., Any], job: Callable[..., Job], tmp_path: Path
) -> None:
    def note(what: str) -> None:
        with open(tmp_path / what, "a") as file:
            file.write(f"{os.getpid()}\n")

    options = PoolOptions(max_jobs_per_child=7, initialize=lambda: note("up"), finalize=lambda: note("down"))
    loop = open_loop(2, act, options)
    ran = Counter(outcome.value for outcome in loop.run([job(number) for number in range(100)]))
    assert max(ran.values()) == 7
    loop.ready()
    loop.pool.close()
    loop.pool.terminate()
    up = (tmp_path / "up").read_text().split()
    assert len(up) == len(set(up))
    assert set(map(int, up)) >= set(ran)
    assert sorted((tmp_path / "down").read_text().split()) == sorted(up)


def test_child_that_grew_is_replaced_after_its_job(open_loop: Callable[..., Any], job: Callable[..., Job]) -> None:
    with open("/proc/self/statm") as file:
        kib = int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
    loop = open_loop(1, act, PoolOptions(max_memory_per_child=kib + 60_000))
    first, second, third, fourth = (
        outcome.value for outcome in loop.run([job(1), job(2, "swell 20"), job(3, "swell 250"), job(4)])
    )
    assert first == second == third != fourth


def test_shrinking_lets_busy_children_finish(
    open_loop: Callable[..., Any], job: Callable[..., Job], tmp_path: Path
) -> None:
    loop = open_loop(3, act)
    loop.ready()
    loop.pool.submit([job(number, f"wait {tmp_path / 'gate'}") for number in range(3)])
    loop.until(lambda: len(loop.started) == 3)
    busy = loop.pool.info()["processes"]
    loop.pool.shrink(2)
    assert loop.pool.size == 1
    assert len(loop.pool.info()["processes"]) == 1
    with pytest.raises(PoolError, match="one must stay"):
        loop.pool.shrink(1)
    (tmp_path / "gate").touch()
    loop.until(lambda: len(loop.outcomes) == 3)
    assert {loop.outcomes[number].value for number in range(3)} == set(busy)
    loop.until(lambda: sum(os.path.exists(f"/proc/{pid}") for pid in busy) == 1, what="two children to leave")
    loop.pool.grow(1)
    loop.ready()
    assert len(loop.pool.info()["processes"]) == 2


def test_interrupt_of_the_terminal_does_not_reach_jobs(
    open_loop: Callable[..., Any], job: Callable[..., Job], tmp_path: Path
) -> None:
    signal.signal(signal.SIGHUP, lambda *_: None)
    try:
        loop = open_loop(1, act)
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
    loop.ready()
    loop.pool.submit([job(1, f"wait {tmp_path / 'gate'}"), job(2, "signals")])
    loop.until(lambda: 1 in loop.started)
    (pid,) = loop.pool.info()["processes"]
    os.kill(pid, signal.SIGINT)
    (tmp_path / "gate").touch()
    loop.until(lambda: 2 in loop.outcomes)
    assert loop.outcomes[1].value == pid
    assert loop.outcomes[2].value == [True, True]


def test_terminate_kills_what_does_not_listen(
    open_loop: Callable[..., Any], job: Callable[..., Job], tmp_path: Path
) -> None:
    loop = open_loop(2, act)
    loop.pool.submit([job(1, f"stubborn 60 {tmp_path / 'ready'}"), job(2, "sleep 60")])
    loop.until((tmp_path / "ready").exists)
    loop.until(lambda: len(loop.started) == 2)
    pids = loop.pool.info()["processes"]
    began = time.monotonic()
    loop.pool.terminate(timeout=0.5)
    assert time.monotonic() - began < 1.5
    assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def test_child_that_survives_its_signal_is_used_again(
    open_loop: Callable[..., Any], job: Callable[..., Job], tmp_path: Path
) -> None:
    loop = open_loop(1, act)
    loop.pool.submit([job(1, f"stubborn 1.2 {tmp_path / 'ready'}")])
    loop.until((tmp_path / "ready").exists)
    loop.until(lambda: 1 in loop.started)
    assert loop.pool.cancel(1, "SIGTERM")
    (pid,) = loop.pool.info()["processes"]
    loop.pool.submit([job(2)])
    loop.until(lambda: 2 in loop.outcomes, within=5)
    assert loop.outcomes[1].value == loop.outcomes[2].value == pid


def test_closed_pool_finishes_what_it_has(open_loop: Callable[..., Any], job: Callable[..., Job]) -> None:
    loop = open_loop(1, act, PoolOptions(max_jobs_per_child=2))
    loop.pool.submit([job(number, "sleep 0.01") for number in range(9)])
    loop.pool.close()
    with pytest.raises(PoolError, match="not open"):
        loop.pool.submit([job(100)])
    loop.until(lambda: len(loop.outcomes) == 9)


def refused() -> int:
    raise BlockingIOError(11, "Resource temporarily unavailable")


def test_pool_that_cannot_be_opened_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = _files()
    monkeypatch.setattr(os, "fork", refused)
    pool = PreforkPool()
    with pytest.raises(PoolError, match="the system starts no fork server"):
        pool.open(4, act, lambda: None, PoolOptions())
    assert _files() == before
    with pytest.raises(PoolError, match="at least 1"):
        PreforkPool().open(0, act, lambda: None, PoolOptions())
    PreforkPool().terminate()


def test_system_that_forks_no_children_breaks_the_pool_after_some_time(
    open_loop: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, forked = os.fork, [0]

    def fork() -> int:
        forked[0] += 1
        return real() if forked[0] == 1 else refused()

    monkeypatch.setattr(os, "fork", fork)
    loop = open_loop(8, act)
    began = time.monotonic()
    with pytest.raises(PoolError, match=r"5 child processes in a row .* Resource temporarily unavailable"):
        loop.until(lambda: False, within=10)
    assert 0.5 < time.monotonic() - began < 5


def test_children_that_the_system_refuses_for_a_while_come_later(
    open_loop: Callable[..., Any], job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real, forked = os.fork, [0]

    def fork() -> int:
        forked[0] += 1
        return refused() if forked[0] > 1 and not (tmp_path / "gate").exists() else real()

    monkeypatch.setattr(os, "fork", fork)
    loop = open_loop(4, act)
    loop.pool.submit([job(number) for number in range(20)])
    loop.turn(0.1)
    (tmp_path / "gate").touch()
    loop.until(lambda: len(loop.outcomes) == 20)
    assert all(outcome.error is None for outcome in loop.outcomes.values())
    loop.ready()


def test_watcher_without_epoll_does_as_well(
    open_loop: Callable[..., Any], job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umbel_pool_prefork.brood.make_watcher", GateWatcher)
    loop = open_loop(2, act)
    loop.run([job(number) for number in range(1000)])
    os.kill(loop.pool.info()["processes"][0], signal.SIGKILL)
    for number in range(2000, 2050):
        loop.run([job(number)], within=5)
    loop.ready()
    loop.pool.terminate()


def test_one_wake_covers_all_that_happens_before_the_next_collect(
    open_loop: Callable[..., Any], job: Callable[..., Job]
) -> None:
    loop = open_loop(2, act)
    loop.ready()
    loop.turn(0.05)
    loop.wakes = 0
    loop.pool.submit([job(number, "sleep 0.001") for number in range(2)])
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        time.sleep(0.01)
    assert loop.wakes == 1
    loop.until(lambda: len(loop.outcomes) == 2)


def test_a_job_for_which_child_and_pool_both_yield_goes_to_the_front(
    open_loop: Callable[..., Any], job: Callable[..., Job], tmp_path: Path
) -> None:
    """The child passes a job over that the pool has seen begun: it reports that, and the job runs after all."""
    loop = open_loop(1, act)
    loop.ready()
    slot = loop.pool._brood.working[0]
    slot.stamp.void(slot.sent + 1)  # taken back, as far as the child can see
    loop.pool.submit([job(1), job(2)])
    loop.until(lambda: len(loop.outcomes) == 2, what="both jobs to end")
    assert loop.pool.info()["staged"] == 0


def test_a_job_that_was_passed_over_is_not_told_as_begun(
    open_loop: Callable[..., Any], job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who is told that a job has begun may acknowledge it, and would lose it."""
    loop = open_loop(1, act)
    loop.ready()
    slot = loop.pool._brood.working[0]
    receive = slot.receive
    # What the child reports is read late, and only by who has to know.
    monkeypatch.setattr(slot, "receive", lambda *limit: receive(*limit) if limit else [])
    slot.stamp.void(slot.sent + 1)
    slot.send([job(1), job(2, "sleep 0.2")])
    loop.until(lambda: loop.started, what="a job to begin")
    assert loop.started == [2]
    monkeypatch.undo()
    loop.until(lambda: len(loop.outcomes) == 2, what="both jobs to end")
    assert loop.started == [2, 1]
