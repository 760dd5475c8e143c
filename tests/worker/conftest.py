"""A worker's loop in pieces: a pool that runs nothing by itself, a clock that is set by hand, a broker in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from umbel import Umbel
from umbel.app.outcome import TaskOutcome, Verdict
from umbel.app.runner import Runner
from umbel.model import states
from umbel.worker.dispatch import Dispatch
from umbel.worker.loop import Loop
from umbel.worker.lost import Lost
from umbel.worker.refusing import Refusing
from umbel.worker.revoked import Revoked
from umbel.worker.settling import Settling
from umbel.worker.shutdown import Shutdown
from umbel.worker.timer import Timer
from umbel_kernel.errors import PoolError
from umbel_kernel.spi.pool import Collected, Job, Outcome, Pool, PoolCapability, PoolOptions
from umbel_kernel.spi.topology import Queue
from umbel_testkit.prepared import Prepared


def _prepared(pool: str) -> Prepared:
    """For tests of workers within the process, of a pool that needs one that was patched first of all."""

    def wants(item: pytest.Item) -> bool:
        if not isinstance(item, pytest.Function) or "running" not in item.fixturenames:
            return False
        callspec = getattr(item, "callspec", None)
        return callspec is not None and pool in (callspec.params.get("pool"), callspec.params.get("place"))

    return Prepared(f"umbel_pool_{pool}.prepare:prepare", wants)


PREPARED = [_prepared(pool) for pool in ("gevent", "eventlet")]


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool | None:
    return any(prepared.run(item, nextitem) for prepared in PREPARED) or None


class HandClock:
    """A clock that moves when it is told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return self.now


class HandPool(Pool):
    """A pool whose jobs begin and end when a test says so."""

    capabilities = frozenset({PoolCapability.TERMINATE})

    def __init__(self, size: int) -> None:
        self._size = size
        self.waiting: dict[int, Job] = {}
        self.running: dict[int, Job] = {}
        self.cancelled: list[int] = []
        self.said = Collected()
        self.closed = False

    def open(self, size: int, execute: Callable[[Job], Any], wake: Callable[[], None], options: PoolOptions) -> None:
        raise NotImplementedError

    @property
    def size(self) -> int:
        return self._size

    def submit(self, jobs: Sequence[Job]) -> None:
        if self.closed:
            raise PoolError("closed")
        self.waiting.update((job.id, job) for job in jobs)

    def withdraw(self, job_ids: Sequence[int]) -> list[int]:
        return [job_id for job_id in job_ids if self.waiting.pop(job_id, None) is not None]

    def collect(self) -> Collected:
        said, self.said = self.said, Collected()
        return said

    def cancel(self, job_id: int, signal: str = "TERM") -> bool:
        self.cancelled.append(job_id)
        return job_id in self.running

    def close(self) -> None:
        self.closed = True

    def terminate(self, *, timeout: float = 5.0) -> None:
        self.closed = True

    def begin(self, *, tell: bool = True) -> Job:
        """Begin the first job that waits."""
        job = self.waiting.pop(next(iter(self.waiting)))
        self.running[job.id] = job
        if tell:
            self.said.started.append(job.id)
        return job

    def end(self, job: Job, app: Any, *, error: Exception | None = None, **fields: Any) -> None:
        """End a job that runs: with the pool's error, or with what its task came to."""
        del self.running[job.id]
        if error is not None:
            self.said.finished.append(Outcome(job.id, error=error))
            return
        fields.setdefault("record", app.backend.record(job.headers["id"], states.SUCCESS, "done"))
        fields.setdefault("verdict", Verdict.ACK)
        outcome = TaskOutcome(job.headers["id"], job.headers["task"], states.SUCCESS, **fields)
        self.said.finished.append(Outcome(job.id, outcome.pack()))


class Rig:
    """A loop, what it works with, and what it has brought about."""

    def __init__(self, app: Umbel, size: int, multiplier: int, **options: Any) -> None:
        self.app, self.clock, self.pool, self.shutdown = app, HandClock(), HandPool(size), Shutdown()
        self.settling = Settling(app, now=self.clock.monotonic)
        self.revoked = Revoked(now=self.clock.monotonic)
        self.timer = Timer(self.clock)
        refusing = Refusing(app, "w1@test", self.settling, Queue("dead"))
        self.loop = Loop(
            app,
            "w1@test",
            timer=self.timer,
            pool=self.pool,
            dispatch=Dispatch(app, self.revoked),
            settling=self.settling,
            shutdown=self.shutdown,
            multiplier=multiplier,
            lost=Lost(app, self.settling, Runner(app, "w1@test"), refusing),
            refusing=refusing,
            **options,
        )
        self.queue = app.queues[app.conf.task_default_queue]
        self.broker = app.connections.connect()
        self.broker.declare([self.queue])
        self.connect()

    def connect(self) -> None:
        """Begin to read."""
        self.consumer = self.broker.consumer([self.queue])
        self.loop.attach(self.broker, self.consumer)

    def lose(self) -> None:
        """Lose the connection: what was held comes again."""
        self.loop.detach()
        self.consumer.close()

    def turn(self) -> None:
        """A turn that waits for nothing."""
        self.loop.timer.call_after(0, int)
        self.consumer.wake()
        self.loop.turn()

    @property
    def waiting(self) -> int:
        """How many messages wait in the queue."""
        return self.broker.size([self.queue.name])[self.queue.name]

    @property
    def held(self) -> int:
        """How many messages the consumer holds."""
        return len(self.consumer._held)

    @property
    def counters(self) -> tuple[int, int]:
        """What the loop has counted, and must be zero when nothing runs."""
        return self.loop._early, self.loop._started


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def make_rig() -> Callable[..., Rig]:
    """``make_rig(app, 2, 4)`` makes a loop of another app."""
    return Rig


@pytest.fixture
def rig(app: Umbel) -> Callable[..., Rig]:
    """``rig(size=2, multiplier=4)`` makes a loop of the app."""
    return lambda size=2, multiplier=4, **options: Rig(app, size, multiplier, **options)


@pytest.fixture
def app_on_sqlite(tmp_path: Path, make_current: Callable[[Umbel], Umbel]) -> Umbel:
    """An app whose broker and results are in a file, for pools of processes."""
    url = f"sqlite:///{tmp_path}/umbel.db"
    return make_current(Umbel("filed", broker=url, backend=url, set_as_current=False))
