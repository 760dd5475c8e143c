"""The process that forks the children: what it keeps from them, and what becomes of all when it goes."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from umbel_kernel.errors import PoolError, WorkerLostError
from umbel_kernel.spi.pool import Job, PoolOptions

held = threading.Lock()


def act(job: Job) -> Any:
    """What the body says."""
    verb, _, rest = job.body.decode().partition(" ")
    if verb == "sleep":
        time.sleep(float(rest))
    elif verb == "append":
        file = os.open(rest, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{job.id}\n".encode())
        time.sleep(0.002)
        os.close(file)
    elif verb == "lock":
        return held.acquire(timeout=1.0)
    elif verb == "files":
        links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
        return sorted(os.readlink(link) for link in links if os.path.lexists(link))
    elif verb == "status":
        return len(os.listdir("/proc/self/task"))
    elif verb == "stdin":
        return sys.stdin.read() if rest == "read" else os.readlink("/proc/self/fd/0")
    elif verb == "vanish":
        os._exit(1)
    elif verb == "who":
        process = sys.modules["billiard.process"].current_process()
        shown = sys.modules["multiprocessing"].current_process()
        record = logging.getLogger("it").makeRecord("it", logging.INFO, "", 0, "", (), None)
        return [os.getpid(), process.name, process.index, shown.name, shown.daemon, record.processName]
    return os.getpid()


def server_of(loop: Any) -> int:
    pid: int = loop.pool._nursery.forker.pid
    return pid


@pytest.fixture
def beside() -> Iterator[threading.Event]:
    """A thread of the worker's that holds a lock for as long as the test runs, as one of a library may at any time."""
    end, taken = threading.Event(), threading.Event()

    def hold() -> None:
        with held:
            taken.set()
            end.wait()

    thread = threading.Thread(target=hold)

    def begin() -> None:
        thread.start()
        taken.wait()

    end.begin = begin  # type: ignore[attr-defined]
    yield end
    end.set()
    thread.join()


def test_no_lock_of_another_thread_gets_into_a_child(
    open_loop: Callable[..., Any], job: Callable[..., Job], beside: Any
) -> None:
    loop = open_loop(1, act, PoolOptions(max_jobs_per_child=1))
    loop.ready()
    beside.begin()
    outcomes = loop.run([job(number, "lock") for number in range(4)])
    assert [outcome.value for outcome in outcomes] == [True] * 4
    loop.pool.grow(1)
    loop.ready()
    assert [outcome.value for outcome in loop.run([job(10, "lock"), job(11, "lock")])] == [True] * 2


def test_children_born_later_have_no_file_and_no_thread_of_the_worker(
    open_loop: Callable[..., Any], job: Callable[..., Job], beside: Any
) -> None:
    loop = open_loop(2, act, PoolOptions(max_jobs_per_child=1))
    loop.ready()
    (first,) = loop.run([job(1, "files")])
    beside.begin()
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as more:
        ours = {os.readlink(f"/proc/self/fd/{each.fileno()}") for each in (listening, more)}
        loop.run([job(number) for number in range(2, 8)])
        later, threads = loop.run([job(8, "files"), job(9, "status")])
        assert not ours & set(later.value)
        assert threads.value == 1
    assert len(later.value) == len(first.value)
    assert sum(name.startswith("socket:") for name in set(later.value) - set(_inherited())) == 1
    assert not any("eventpoll" in name or "pidfd" in name for name in set(later.value) - set(_inherited()))
    assert set(os.listdir(f"/proc/{server_of(loop)}/task")) == {str(server_of(loop))}


def _inherited() -> list[str]:
    links = [f"/proc/self/fd/{name}" for name in os.listdir("/proc/self/fd")]
    return [os.readlink(link) for link in links if os.path.lexists(link)]


def test_child_is_replaced_within_50_ms(open_loop: Callable[..., Any], job: Callable[..., Job]) -> None:
    loop = open_loop(1, act, PoolOptions(max_jobs_per_child=1))
    loop.ready()
    times = []
    for number in range(11):
        began = time.monotonic()
        loop.run([job(number)])
        loop.ready()
        times.append(time.monotonic() - began)
    assert min(times) < 0.05  # the rest is what else this machine does


def test_children_read_no_input_of_the_terminal(open_loop: Callable[..., Any], job: Callable[..., Job]) -> None:
    loop = open_loop(1, act)
    assert loop.run([job(1, "stdin")])[0].value == os.devnull


class Ran:
    """Where something ran after a fork."""

    def __init__(self) -> None:
        self.pids: list[int] = []


def test_children_know_their_name_and_their_place(open_loop: Callable[..., Any], job: Callable[..., Job]) -> None:
    for library in ("billiard.process", "multiprocessing.process"):
        pytest.importorskip(library)
    ran = Ran()
    pytest.importorskip("billiard.util").register_after_fork(ran, lambda found: found.pids.append(os.getpid()))
    loop = open_loop(3, lambda task: [*act(task), *ran.pids], PoolOptions(max_jobs_per_child=3))
    loop.ready()
    for start in range(0, 30, 3):
        told = [outcome.value for outcome in loop.run([job(start + number, "who") for number in range(3)])]
        assert {index for _, _, index, *_ in told} <= {0, 1, 2}
        for pid, name, _, shown, daemon, logged, *after in told:
            assert name == shown == logged
            assert name.startswith("ForkPoolWorker-")
            assert not daemon
            assert after[-1] == pid
    assert ran.pids == []
    loop.pool.grow(2)
    loop.ready()
    assert {slot.index for slot in loop.pool._brood.working} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGCHLD"])
def test_signals_to_the_whole_group_pass_the_server_by(
    open_loop: Callable[..., Any], job: Callable[..., Job], name: str
) -> None:
    loop = open_loop(1, act, PoolOptions(max_jobs_per_child=1))
    loop.ready()
    server = server_of(loop)
    for number in range(3):
        os.kill(server, getattr(signal, name))
        loop.run([job(number)])
    assert server_of(loop) == server


def test_killed_server_takes_its_children_along_and_comes_back(
    open_loop: Callable[..., Any], job: Callable[..., Job], tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    loop = open_loop(3, act)
    loop.ready()
    path = tmp_path / "ran"
    loop.pool.submit([job(1, "sleep 60"), *(job(number, f"append {path}") for number in range(2, 400))])
    loop.until(lambda: 1 in loop.started and len(loop.outcomes) > 20)
    killed, old = server_of(loop), loop.pool.info()["processes"]
    os.kill(killed, signal.SIGKILL)
    loop.until(lambda: len(loop.outcomes) == 399, what="all outcomes")
    lost = {number: outcome for number, outcome in loop.outcomes.items() if outcome.error is not None}
    assert 1 in lost
    assert len(lost) <= 3
    assert all(isinstance(outcome.error, WorkerLostError) for outcome in lost.values())
    assert "the process that forks children ended: killed by SIGKILL" in str(lost[1].error)
    assert "the process that forks children ended: killed by SIGKILL" in caplog.text
    ran = [int(line) for line in path.read_text().split()]
    assert len(ran) == len(set(ran))
    assert set(ran) | set(lost) == set(range(1, 400))
    loop.ready()
    assert server_of(loop) != killed
    assert not any(_is_alive(pid) for pid in [*old, killed])


def test_server_killed_again_and_again_harms_only_what_runs(
    open_loop: Callable[..., Any], job: Callable[..., Job]
) -> None:
    loop = open_loop(2, act)
    for number in range(8):
        loop.ready()
        os.kill(server_of(loop), signal.SIGKILL)
        (outcome,) = loop.run([job(number)])
        assert outcome.error is None or isinstance(outcome.error, WorkerLostError)
    assert loop.pool._nursery.broken is None


def test_server_killed_while_children_are_born(open_loop: Callable[..., Any], job: Callable[..., Job]) -> None:
    loop = open_loop(8, act)
    os.kill(server_of(loop), signal.SIGKILL)
    assert [outcome.error for outcome in loop.run([job(number) for number in range(50)])] == [None] * 50
    loop.ready()
    assert len(loop.pool.info()["processes"]) == 8


def test_more_children_are_asked_for_than_the_sockets_hold(
    open_loop: Callable[..., Any], job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.socketpair

    def narrow() -> tuple[socket.socket, socket.socket]:
        pair = real()
        for each in pair:
            each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)
        return pair

    monkeypatch.setattr(socket, "socketpair", narrow)
    loop = open_loop(40, act)
    loop.ready()
    assert len(set(loop.pool.info()["processes"])) == 40
    assert [outcome.error for outcome in loop.run([job(number) for number in range(200)])] == [None] * 200


def test_server_that_does_not_answer_is_replaced(open_loop: Callable[..., Any], job: Callable[..., Job]) -> None:
    loop = open_loop(1, act, PoolOptions(alive_timeout=0.3))
    loop.ready()
    os.kill(server_of(loop), signal.SIGSTOP)
    loop.pool.grow(1)
    loop.until(lambda: loop.pool._nursery.forker is None or len(loop.pool.info()["processes"]) == 2, within=5)
    loop.ready()
    assert [outcome.error for outcome in loop.run([job(1), job(2)])] == [None, None]


def test_end_of_the_server_that_lasts_breaks_the_pool(
    open_loop: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("umbel_pool_prefork.server.Server._serve", lambda self: None)
    with pytest.raises(PoolError, match=r"the process that forks children ended|the fork server starts no child"):
        open_loop(2, act).until(lambda: False, within=10)


PARENT = """
import os, signal, sys, time
import umbel_pool_prefork.child, umbel_pool_prefork.server
from umbel_kernel.spi.pool import Job, PoolOptions
from umbel_pool_prefork import PreforkPool

for module in (umbel_pool_prefork.child, umbel_pool_prefork.server):
    module.die_with_parent = lambda parent: None

def execute(job):
    os.write(1, f"{os.getpid()} {os.getppid()}\\n".encode())
    while True:
        pass

pool = PreforkPool()
pool.open(2, execute, lambda: None, PoolOptions())
pool.submit([Job(1, b"", {}), Job(2, b"", {})])
while True:
    pool.collect()
    time.sleep(0.01)
"""


def test_busy_children_are_gone_with_the_worker_where_the_system_does_not_see_to_it() -> None:
    parent = subprocess.Popen([sys.executable, "-c", textwrap.dedent(PARENT)], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    try:
        pids = {int(text) for _ in range(2) for text in parent.stdout.readline().split()}
        assert len(pids) == 3
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    end = time.monotonic() + 2.0
    while any(_is_alive(pid) for pid in pids):
        assert time.monotonic() < end, "a process outlived the worker by two seconds"
        time.sleep(0.01)


def _is_alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
