"""Publishing where it is hard, on real servers: see benchmarks/faults/programs/contexts.py.

Of every call that came back the message is in the queue, once, when the process has ended; and the process ends.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from umbel import Umbel
from umbel.model.ids import uuid

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
PROGRAM = BENCHMARKS / "faults" / "programs" / "contexts.py"
CONTEXTS = re.findall(r"(?m)^def ([a-z]\w*)\(\) -> None:\n    \"\"\"", PROGRAM.read_text())
COUNT = 40
PATIENCE = 60.0


class Place:
    """A queue of its own, and what is in it."""

    def __init__(self, url: str, results: str, folder: Path) -> None:
        self.url, self.results, self.folder = url, results, folder
        self.queue = f"test-{uuid()}"
        self.app = Umbel("looks", broker=url, backend="disabled", set_as_current=False)
        self.broker = self.app.connections.broker()

    def run(self, context: str) -> tuple[list[str], str, int]:
        """Run a context in a program of its own: the ids that were promised, what it said, and how it ended."""
        promised = self.folder / "promised"
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("CELERY_", "FAULTS_"))},
            "FAULTS_CONTENDER": "umbel",
            "FAULTS_URL": self.url,
            "FAULTS_RESULTS": self.results,
            "FAULTS_QUEUE": self.queue,
            "PYTHONPATH": os.pathsep.join(filter(None, (str(BENCHMARKS), os.environ.get("PYTHONPATH")))),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "faults.programs.contexts", context, str(COUNT), str(promised)],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            out, _ = process.communicate(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            out, _ = process.communicate()
            pytest.fail(f"{context}: hangs after {len(promised.read_text().split())} calls\n{out[-4000:]}")
        return promised.read_text().split(), out, process.returncode

    def waiting(self, promised: set[str]) -> Counter[str]:
        """How often each task's message is in the queue, when all that was promised has come or after ten seconds."""
        queue = self.app.queues[self.queue]
        self.broker.declare([queue])
        consumer = self.broker.consumer([queue])
        found: Counter[str] = Counter()
        end = time.monotonic() + 10
        while True:
            messages = consumer.receive(500, 0.3)
            found.update(message.headers["id"] for message in messages)
            consumer.ack(messages)
            if not messages and (promised <= found.keys() or time.monotonic() > end):
                break
        consumer.close()
        return found

    def close(self) -> None:
        self.broker.delete([self.queue])
        self.app.close()


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[str], Place]]:
    """``place("redis")`` makes a queue on that broker."""
    made: list[Place] = []

    def make(broker: str) -> Place:
        if broker == "sqlite":
            url = results = f"sqlite:///{tmp_path}/umbel.db"
        else:
            url, results = request.getfixturevalue(f"{broker}_url"), request.getfixturevalue("redis_url")
        made.append(Place(url, results, tmp_path))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_the_contexts_were_found() -> None:
    assert len(CONTEXTS) >= 20


@pytest.mark.parametrize("context", CONTEXTS)
@pytest.mark.parametrize("broker", ["redis", "amqp", pytest.param("sqlite", marks=pytest.mark.slow)])
def test_what_came_back_is_in_the_queue_once(place: Callable[[str], Place], broker: str, context: str) -> None:
    at = place(broker)
    promised, said, code = at.run(context)
    waiting = at.waiting(set(promised))
    assert len(promised) >= min(COUNT, 5), said[-4000:]
    missing, twice = set(promised) - set(waiting), [task_id for task_id, count in waiting.items() if count > 1]
    assert not missing, f"{len(missing)} of {len(promised)} are lost\n{said[-4000:]}"
    assert not twice, f"{len(twice)} of {len(promised)} are there twice\n{said[-4000:]}"
    if context == "uncaught_error":
        assert code == 1 and said.count("Traceback") == 1 and "RuntimeError: wanted" in said, said[-4000:]
    else:
        assert code == 0, said[-4000:]
        assert not re.search("Traceback|Error|Exception ignored|child .* ended", said), said[-4000:]
