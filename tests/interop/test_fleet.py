"""Workers of both kinds on one queue, and what becomes of the tasks when one of them leaves."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from typing import Any

TASKS = 500


def test_a_queue_is_shared(fleet: Any, clients: Any) -> None:
    queue, sent = fleet.queue("both"), []
    for number in range(TASKS):
        client = clients["celery" if number % 2 else "umbel"]
        sent.append(client.task("note").apply_async(("shared", number), queue=queue))
    assert [result.get(timeout=30) for result in sent] == list(range(TASKS))
    lines = fleet.lines("shared")
    assert Counter(line[-1] for line in lines) == {str(number): 1 for number in range(TASKS)}
    sides = Counter(line[0] for line in lines)
    print(f"{fleet.broker.partition(':')[0]}: {dict(sides)}")
    assert set(sides) == {"Umbel", "Celery"}


def test_what_a_leaving_worker_has_not_begun_is_done_by_the_other(fleet: Any, clients: Any, wait_until: Any) -> None:
    queue, client = fleet.queue("leaving"), clients["umbel"]
    worker = fleet.start("ours", "leaver", "leaving")
    fleet.wait_ready("leaver")
    sent = [client.task("nap").apply_async((0.02, f"leaving-{number}"), queue=queue) for number in range(200)]

    def by_umbel() -> int:
        return sum(line[0] == "Umbel" and line[-1].startswith("leaving-") for line in fleet.lines("nap"))

    wait_until(lambda: by_umbel() >= 10)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(15) == 0, fleet.log("leaver").read_text()[-3000:]
    assert [result.get(timeout=30) for result in sent] == [f"leaving-{number}" for number in range(200)]
    lines = [line for line in fleet.lines("nap") if line[-1].startswith("leaving-")]
    assert Counter(line[-1] for line in lines) == {f"leaving-{number}": 1 for number in range(200)}
    assert {line[0] for line in lines} == {"Umbel", "Celery"}


def test_what_a_killed_worker_held_is_done_by_the_other(fleet: Any, clients: Any, wait_until: Any) -> None:
    queue, client = fleet.queue("killed"), clients["celery"]
    worker = fleet.start("ours", "victim", "killed")
    fleet.wait_ready("victim")
    sent = [client.task("hold").apply_async((number,), queue=queue) for number in range(6)]
    wait_until(lambda: len(fleet.lines("hold")) == 2)
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    client.app.control.add_consumer(queue, destination=[fleet.hostname("theirs")], reply=True, timeout=10, limit=1)
    assert [result.get(timeout=40) for result in sent] == list(range(6))
    lines = Counter(tuple(line) for line in fleet.lines("hold"))
    assert {line[-1] for line in lines if line[0] == "Celery"} == {str(number) for number in range(6)}
    assert set(lines.values()) == {1}


def test_what_a_killed_worker_of_celery_held_is_done_by_umbel(fleet: Any, clients: Any, wait_until: Any) -> None:
    queue, client = fleet.queue("theirs-killed"), clients["umbel"]
    worker = fleet.start("theirs", "celery-victim", "theirs-killed")
    fleet.wait_ready("celery-victim")

    def received() -> int:
        return int(fleet.log("celery-victim").read_text().count(" received"))

    for number in range(2):
        client.task("nap").apply_async((600, f"endless-{number}"), queue=queue)
    wait_until(lambda: received() == 2)
    sent = [client.task("note").apply_async(("inherited", number), queue=queue) for number in range(4)]
    wait_until(lambda: received() == 6)
    os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    fleet.start("ours", "umbel-heir", "theirs-killed")
    assert [result.get(timeout=40) for result in sent] == list(range(4))
    lines = Counter(tuple(line) for line in fleet.lines("inherited"))
    assert lines == {("Umbel", "inherited", str(number)): 1 for number in range(4)}


def test_what_a_leaving_worker_has_parked_is_run_by_the_other_in_time(
    fleet: Any, clients: Any, wait_until: Any
) -> None:
    queue, client = fleet.queue("parked"), clients["celery"]
    worker = fleet.start("ours", "parker", "parked")
    fleet.wait_ready("parker")
    due = time.time() + 15
    sent = [client.task("note").apply_async(("parked", n), queue=queue, countdown=due - time.time()) for n in range(5)]
    wait_until(lambda: fleet.log("parker").read_text().count(" received") >= 5)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(15) == 0, fleet.log("parker").read_text()[-3000:]
    client.app.control.add_consumer(queue, destination=[fleet.hostname("theirs")], reply=True, timeout=10, limit=1)
    assert [result.get(timeout=40) for result in sent] == list(range(5))
    assert time.time() >= due
    # How often is Celery's affair: what it holds on Redis for longer than the visibility timeout comes again.
    assert set(map(tuple, fleet.lines("parked"))) == {("Celery", "parked", str(n)) for n in range(5)}
