"""How soon workers end on each pool, and what becomes of tasks that they cannot finish in time."""

from __future__ import annotations

import functools
import signal
import socket
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.worker.test_shutdown import Place, place
from umbel.model.ids import uuid

__all__ = ["place"]

POOLS = [
    "prefork",
    pytest.param("solo", marks=pytest.mark.slow),
    pytest.param("threads", marks=pytest.mark.slow),
    pytest.param("asyncio", marks=pytest.mark.slow),
    pytest.param("gevent", marks=pytest.mark.slow),
    pytest.param("eventlet", marks=pytest.mark.slow),
]
OUTLIVES = 60
"""Seconds of a task that outlives every worker here."""


def waiting(place: Place) -> int:
    """How many tasks wait in the queue."""
    queue = place.app.conf.task_default_queue
    return place.app.connections.broker().size([queue])[queue]


def begun(place: Place, times: int) -> bool:
    """Whether the task has begun so many times."""
    return place.notes() == ["begin 1"] * times


def sent(worker: subprocess.Popen[bytes], number: int) -> bool:
    """Whether a worker has ended; else it is sent a signal once more."""
    if worker.poll() is None:
        worker.send_signal(number)
        return False
    return True


@pytest.mark.parametrize("pool", POOLS)
def test_a_soft_end_lets_finish_what_can(place: Place, pool: str) -> None:
    place.app.send_task("late", (1, 1))
    worker = place.start("-P", pool, "-c", "1", "worker.soft_shutdown_timeout=30")
    place.wait(place.notes, "the task")
    worker.send_signal(signal.SIGQUIT)
    assert worker.wait(timeout=25) == 0, place.log()
    assert place.notes() == ["begin 1", "end 1"]
    assert "Soft shutdown: tasks that run have 30 seconds" in place.log()
    assert waiting(place) == 0


@pytest.mark.parametrize("pool", [*POOLS[:1], "solo", *POOLS[2:]])
@pytest.mark.parametrize(
    ("number", "setting"),
    [(signal.SIGQUIT, "worker.soft_shutdown_timeout=0.3"), (signal.SIGTERM, "worker.warm_shutdown_timeout=0.3")],
    ids=["soft", "warm"],
)
def test_what_cannot_finish_in_time_is_back_at_once(place: Place, pool: str, number: int, setting: str) -> None:
    place.app.send_task("late", (1, OUTLIVES))
    worker = place.start("-P", pool, "-c", "1", setting)
    place.wait(place.notes, "the task")
    worker.send_signal(number)
    assert worker.wait(timeout=20) == 1, place.log()
    assert "cold shutdown" in place.log()
    assert place.notes() == ["begin 1"]
    assert waiting(place) == 1


@pytest.mark.slow
@pytest.mark.parametrize("pool", POOLS)
def test_no_attempt_is_charged_for_an_end_in_time(place: Place, pool: str) -> None:
    """A task that outlives the grace of five workers is not taken for one that kills them."""
    result = place.app.send_task("late", (1, 5))
    for turn in range(1, 6):
        worker = place.start("-P", pool, "-c", "1", "worker.warm_shutdown_timeout=0.1")
        place.wait(functools.partial(begun, place, turn), f"run {turn}", 25)
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(timeout=20) == 1, place.log()
    place.start("-P", pool, "-c", "1")
    assert result.get(timeout=30) == 1, place.log()
    assert place.notes() == [*["begin 1"] * 6, "end 1"]


@pytest.mark.parametrize("pool", POOLS)
def test_a_cold_end_with_nothing_to_cut_off_is_a_good_one(place: Place, pool: str) -> None:
    worker = place.start("-P", pool, "-c", "1", "worker.soft_shutdown_timeout=30")
    place.wait(lambda: " ready." in place.log(), "the worker")
    worker.send_signal(signal.SIGQUIT)
    assert worker.wait(timeout=20) == 0, place.log()


@pytest.mark.parametrize("pool", ["threads", pytest.param("prefork", marks=pytest.mark.slow)])
def test_sigterm_can_be_made_a_cold_end(place: Place, pool: str) -> None:
    place.app.send_task("late", (1, OUTLIVES))
    worker = place.start("-P", pool, "-c", "1", REMAP_SIGTERM="SIGQUIT")
    place.wait(place.notes, "the task")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=20) == 1, place.log()
    assert waiting(place) == 1


@pytest.mark.parametrize("pool", POOLS)
def test_a_hangup_starts_it_anew_when_its_tasks_are_done(place: Place, pool: str) -> None:
    first = place.app.send_task("late", (1, 1))
    worker = place.start("-P", pool, "-c", "1", "--pidfile", "worker.pid")
    place.wait(place.notes, "the task")
    worker.send_signal(signal.SIGHUP)
    assert first.get(timeout=25) == 1
    place.wait(lambda: place.log().count("ready.") == 2, "the second start", 25)
    assert worker.poll() is None
    assert int((place.folder / "worker.pid").read_text()) == worker.pid
    assert place.app.send_task("late", (2, 0)).get(timeout=25) == 2
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=25) == 0, place.log()
    assert place.notes() == ["begin 1", "end 1", "begin 2", "end 2"]


@pytest.mark.parametrize("pool", POOLS)
def test_it_prints_what_all_threads_are_doing(place: Place, pool: str) -> None:
    place.app.send_task("late", (1, OUTLIVES))
    worker = place.start("-P", pool, "-c", "1")
    place.wait(place.notes, "the task")
    worker.send_signal(signal.SIGUSR1)
    place.wait(lambda: "The stacks of process" in place.log(), "the stacks")
    place.wait(lambda: "in nap" in place.log(), "that of the task")
    assert place.notes() == ["begin 1"]
    worker.send_signal(signal.SIGQUIT)
    worker.wait(timeout=25)


@pytest.mark.slow
@pytest.mark.parametrize("broker", ["redis", "amqp"])
@pytest.mark.parametrize("pool", ["prefork", "solo", "threads", "asyncio"])
def test_nothing_is_lost_when_the_grace_is_short(
    request: pytest.FixtureRequest, tmp_path: Path, pool: str, broker: str
) -> None:
    """Tasks that take longer than a worker may live on are given to the next one, each once."""
    place = Place(tmp_path, request.getfixturevalue(f"{broker}_url"))
    queue = f"grace-{uuid()}"
    try:
        results = [place.app.send_task("late", (number, 3), queue=queue) for number in range(4)]
        first = place.start("-P", pool, "-c", "2", "-Q", queue, "worker.warm_shutdown_timeout=0.5")
        place.wait(place.notes, "the first task", 25)
        first.send_signal(signal.SIGTERM)
        assert first.wait(timeout=20) == 1, place.log()
        before = place.notes()
        assert all(note.startswith("begin") for note in before)
        place.start("-P", pool, "-c", "4", "-Q", queue)
        assert [result.get(timeout=40) for result in results] == [0, 1, 2, 3], place.log()
        after = Counter(place.notes()[len(before) :])
        assert after == Counter({f"{word} {number}": 1 for word in ("begin", "end") for number in range(4)})
    finally:
        for worker in place.workers:
            worker.kill()
            worker.wait()
        place.app.connections.broker().delete([queue])
        place.app.close()


STUBBORN = """
    @app.task(name="stubborn", acks_late=True)
    def stubborn():
        note("begin")
        while True:
            try:
                time.sleep(60)
            except BaseException:
                note("caught")
"""


@pytest.mark.slow
@pytest.mark.parametrize("pool", ["prefork", "solo", "threads"])
def test_a_task_that_lets_nothing_end_it_is_left(place: Place, pool: str) -> None:
    text = (place.folder / "ends.py").read_text()
    (place.folder / "ends.py").write_text(text + STUBBORN.replace("\n    ", "\n"))
    place.app.send_task("stubborn")
    worker = place.start("-P", pool, "-c", "1")
    place.wait(place.notes, "the task")
    worker.send_signal(signal.SIGQUIT)
    assert worker.wait(timeout=30) == 1, place.log()
    assert waiting(place) == 1


@pytest.mark.slow
def test_one_more_signal_is_to_leave_at_once(place: Place) -> None:
    text = (place.folder / "ends.py").read_text()
    (place.folder / "ends.py").write_text(text + STUBBORN.replace("\n    ", "\n"))
    place.app.send_task("stubborn")
    worker = place.start("-P", "solo", "-c", "1")
    place.wait(place.notes, "the task")
    worker.send_signal(signal.SIGQUIT)
    place.wait(lambda: "caught" in place.notes(), "the cold end")
    place.wait(functools.partial(sent, worker, signal.SIGQUIT), "its leave")
    assert worker.returncode == 1
    assert "leaving at once" in place.log()


def test_a_debugger_can_be_opened_from_outside(place: Place, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    worker = place.start("-P", "solo", CELERY_RDBSIG="1", CELERY_RDB_PORT=str(port))
    place.wait(lambda: " ready." in place.log(), "the worker")
    worker.send_signal(signal.SIGUSR2)
    place.wait(lambda: "waits for you on 127.0.0.1:" in place.log(), "the debugger")
    line = next(line for line in place.log().splitlines() if "waits for you" in line)
    with socket.create_connection(("127.0.0.1", int(line.rsplit(" ", 1)[1])), timeout=20) as session:
        session.sendall(b"p 6 * 7\nc\n")
        said = session.makefile().read()
    assert "42" in said
    assert place.app.send_task("late", (1, 0)).get(timeout=25) == 1
