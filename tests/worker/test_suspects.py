"""Tasks that end their whole worker: counted although nobody is left to tell, and nothing else suffers."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel
from umbel.model import states
from umbel.model.exceptions import WorkerLostError
from umbel.model.ids import uuid
from umbel.worker.suspects import ALONE
from umbel_kernel.errors import OperationalError


@pytest.fixture
def made(rig: Callable[..., Any], app: Umbel) -> Any:
    app.task(name="late", acks_late=True)(lambda: None)
    app.task(name="early")(lambda: None)
    return rig(size=4, multiplier=4)


def _die(made: Any) -> None:
    """What a worker's death leaves: it held messages, which come again, and remembers nothing."""
    made.loop.detach(resumes=False)
    for job_id in list(made.loop.running):
        made.pool.running.pop(job_id, None)
        made.loop._forget(made.loop.running.pop(job_id))
    made.consumer.close()
    made.connect()


def _begin(made: Any) -> list[str]:
    """Let begin what may; returns the ids of all that run."""
    for _ in range(5):
        made.turn()
        while made.pool.waiting:
            made.pool.begin()
    return [held.task_id for held in made.loop.running.values()]


def _end(made: Any, task_id: str) -> None:
    job = next(job for job in made.pool.running.values() if job.headers["id"] == task_id)
    made.pool.end(job, made.app)
    made.turn()


@pytest.mark.parametrize("name", ["late", "early"])
def test_it_is_put_aside_when_it_was_running_at_three_deaths(made: Any, name: str) -> None:
    (sent,) = [made.app.send_task(name)]
    for _ in range(3):
        made.turn()
        made.pool.begin()  # dies before the loop hears that it began, so an early one is not acknowledged either
        _die(made)
    assert _begin(made) == []
    assert (made.held, made.waiting) == (0, 0)
    assert isinstance(sent.result, WorkerLostError)
    assert "was running when 3 workers or processes ended" in str(sent.result)
    assert made.broker.size(["dead"]) == {"dead": 1}


def test_those_beside_it_are_not_counted_for_its_deeds(made: Any) -> None:
    poison, *others = sent = [made.app.send_task("late") for _ in range(4)]
    for deaths in (1, 2):
        assert sorted(_begin(made)) == sorted(each.id for each in sent), deaths
        _die(made)
    # All four were running at two deaths. From now on one of them begins at a time.
    ran: Counter[str] = Counter()
    for _ in range(10):
        running = _begin(made)
        assert len(running) <= 1
        ran.update(running)
        if running == [poison.id]:
            _die(made)
        elif running:
            _end(made, running[0])
    assert ran == {each.id: 1 for each in sent}
    assert [each.state for each in others] == [states.SUCCESS] * 3
    assert isinstance(poison.result, WorkerLostError)
    assert (made.held, made.waiting) == (0, 0)


def test_new_tasks_do_not_wait_for_those_that_are_alone(made: Any) -> None:
    old = [made.app.send_task("late") for _ in range(3)]
    for _ in range(2):
        _begin(made)
        _die(made)
    new = [made.app.send_task("late") for _ in range(3)]
    running = _begin(made)
    assert set(running) >= {each.id for each in new}
    assert len(running) == 4
    made.clock.now += ALONE + 1
    _end(made, new[0].id)
    assert len(set(_begin(made)) & {each.id for each in old}) == 2


def test_what_was_only_given_back_is_not_counted(made: Any) -> None:
    sent = [made.app.send_task("late") for _ in range(16)]
    for _ in range(6):
        other = made.broker.consumer([made.queue])
        assert len(other.receive(100, 1)) == 16
        other.close()
    ended: list[str] = []
    for _ in range(20):
        for task_id in _begin(made):
            _end(made, task_id)
            ended.append(task_id)
    assert sorted(ended) == sorted(each.id for each in sent)


def test_what_has_ended_is_not_counted_though_it_comes_again(made: Any) -> None:
    sent = made.app.send_task("late")
    for _ in range(5):
        made.turn()
        job = made.pool.begin()
        made.app.backend.store_result(sent.id, "done", states.SUCCESS)  # and dies before the acknowledgement
        assert job.headers["id"] == sent.id
        _die(made)
    assert made.broker.size(["dead"]) == {"dead": 0} or made.broker.size(["dead"]) == {}


def test_a_store_that_is_away_holds_up_nothing(made: Any, monkeypatch: Any, caplog: Any) -> None:
    sent = made.app.send_task("late")
    _begin(made)
    _die(made)

    def away(*_: Any, **__: Any) -> Any:
        raise OperationalError("the store is away")

    monkeypatch.setattr(made.app.backend, "look", away)
    assert _begin(made) == [sent.id]
    assert "cannot see whether 1 redelivered tasks have ended before: the store is away" in caplog.text
    _die(made)
    monkeypatch.undo()
    monkeypatch.setattr(made.app.backend, "store", away)
    assert _begin(made) == [sent.id]
    assert "cannot note that 1 redelivered tasks begin" in caplog.text


def test_without_a_store_nothing_is_counted(make_current: Any, make_rig: Any) -> None:
    app = make_current(Umbel("none", broker=f"memory://{uuid()}", set_as_current=False))
    app.conf.result_backend = "disabled://"
    own = make_rig(app, 1, 4)
    app.task(name="late", acks_late=True)(lambda: None)
    assert not own.loop.suspects.enabled
    sent = app.send_task("late")
    for _ in range(5):
        assert _begin(own) == [sent.id]
        _die(own)


# Successes are not repeated


def test_a_success_is_not_run_again_where_that_is_wanted(app: Umbel, request: Any) -> None:
    app.conf.worker_deduplicate_successful_tasks = True
    made = request.getfixturevalue("made")
    late, early = made.app.send_task("late"), made.app.send_task("early")
    made.turn()
    made.app.backend.store_result(late.id, "done", states.SUCCESS)
    made.app.backend.store_result(early.id, "done", states.SUCCESS)
    _die(made)
    assert _begin(made) == [early.id]
    assert late.get(timeout=1) == "done"
    _end(made, early.id)
    assert (made.held, made.waiting) == (0, 0)


def test_a_success_runs_again_where_nothing_is_said(made: Any) -> None:
    sent = made.app.send_task("late")
    made.turn()
    made.app.backend.store_result(sent.id, "done", states.SUCCESS)
    _die(made)
    assert _begin(made) == [sent.id]


# Real workers

MODULE = """
    import os
    import time
    from umbel import Umbel

    app = Umbel("deadly", broker="{broker}", backend="{backend}")
    app.conf.update(
        task_acks_late=True, task_default_queue="{queue}", broker_transport_options={options},
        worker_dead_letter_queue="{queue}-dead",
    )

    @app.task(name="poison")
    def poison():
        with open("{folder}/deaths", "a") as file:
            print("x", file=file)
        os.kill(os.getpid(), 9)

    @app.task(name="healthy")
    def healthy(number):
        time.sleep(0.01)
        return number
"""


@pytest.fixture
def deadly(tmp_path: Path, request: Any) -> Iterator[Callable[..., Any]]:
    """``deadly("redis", "solo", meanwhile)`` starts a worker of that kind again whenever it dies, until ``meanwhile``,
    which is given an app to send with, returns true. Returns how many dead letters there are."""
    workers: list[subprocess.Popen[bytes]] = []

    def run(kind: str, pool: str, meanwhile: Callable[[Umbel], bool]) -> int:
        queue, backend = f"test-{uuid()}", f"sqlite:///{tmp_path}/results.db"
        broker = f"sqlite:///{tmp_path}/broker.db" if kind == "sqlite" else request.getfixturevalue(f"{kind}_url")
        options = {"lease": 1} if kind == "redis" else {}
        text = MODULE.format(broker=broker, backend=backend, queue=queue, options=options, folder=tmp_path)
        (tmp_path / "deadly.py").write_text(textwrap.dedent(text))
        client = Umbel("client", broker=broker, backend=backend, set_as_current=False)
        client.conf.update(task_default_queue=queue, broker_transport_options=options)
        command = [sys.executable, "-m", "umbel", "-q", "-A", "deadly", "worker", "-c", "4", "-P", pool]
        end = time.monotonic() + 90
        try:
            done = meanwhile(client)
            while not done and time.monotonic() < end:
                if not workers or workers[-1].poll() is not None:
                    with open(tmp_path / "log", "ab") as log:
                        workers.append(subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log))
                time.sleep(0.02)
                done = meanwhile(client)
            assert done, (tmp_path / "log").read_text()[-5000:]
            sizes = client.connections.broker().size([f"{queue}-dead"])
            return int(sizes[f"{queue}-dead"])
        finally:
            if kind != "sqlite":
                client.connections.broker().delete([queue, f"{queue}-dead"])
            client.close()

    yield run
    for worker in workers:
        if worker.poll() is None:
            worker.send_signal(signal.SIGKILL)
        worker.wait()


@pytest.mark.parametrize(
    ("kind", "pool"),
    [
        ("sqlite", "threads"),
        pytest.param("sqlite", "solo", marks=pytest.mark.slow),
        pytest.param("redis", "solo", marks=pytest.mark.slow),
        pytest.param("redis", "threads", marks=pytest.mark.slow),
        pytest.param("amqp", "solo", marks=pytest.mark.slow),
        pytest.param("amqp", "threads", marks=pytest.mark.slow),
    ],
)
def test_a_poisonous_task_ends_three_workers_and_no_more(kind: str, pool: str, deadly: Any, tmp_path: Path) -> None:
    sent: list[Any] = []

    def meanwhile(app: Umbel) -> bool:
        if not sent:
            sent.extend(app.send_task("healthy", (number,)) for number in range(20))
            sent.insert(5, app.send_task("poison"))
            return False
        return all(result.ready() for result in sent)

    dead = deadly(kind, pool, meanwhile)
    poison = sent.pop(5)
    assert isinstance(poison.result, WorkerLostError)
    assert "task poison was running when 3 workers or processes ended" in str(poison.result)
    assert [result.result for result in sent] == list(range(20))
    assert dead == 1
    assert (tmp_path / "deaths").read_text().count("x") == 3
