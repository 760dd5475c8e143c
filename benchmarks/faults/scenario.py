"""What a scenario is, and what it is given.

A scenario is a module in this package, listed in `faults/catalogue.py`, with

    NAME      a word for the command line and the table, such as "kill-children"
    TITLE     what is done, in one line
    BROKERS   of "redis" and "amqp", where it can be run
    STOPS     True when it stops, fills or empties the server, so that it is run on a private one only
    LIMITS    what umbel promises: broker -> name of a figure -> `at_most(...)` or `at_least(...)`
    run(bench: Bench) -> Figures

`run` does the fault once, to one contender on one broker, and counts. It asks neither contender what happened: the
journal, the server, the processes and the clock tell. It raises `harness.failure.Failure` when the fault could not be
done at all (a worker that does not even start); whatever the fault *caused*, however bad, is a figure. It starts
nothing except through `bench`, which ends all of it, also after an exception. With `bench.short` it takes a few
seconds and proves the same with less.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True)
class Limit:
    """A promise about one figure."""

    most: float | None = None
    least: float | None = None

    def kept(self, value: float | None) -> bool:
        """Whether a figure is within the limit. A figure that was not come to (None) is not: it never happened."""
        if value is None:
            return False
        return (self.most is None or value <= self.most) and (self.least is None or value >= self.least)

    def __str__(self) -> str:
        return f"≤ {self.most:g}" if self.most is not None else f"≥ {self.least:g}"


def at_most(value: float) -> Limit:
    return Limit(most=value)


def at_least(value: float) -> Limit:
    return Limit(least=value)


Limits = Mapping[str, Mapping[str, Limit]]
"""Of each broker, by the names of figures."""


@dataclass(kw_only=True)
class Figures:
    """What came of a fault. None where a figure does not apply, or where what it counts never happened.

    The first seven are the same for all scenarios and are columns of the table; `more` holds a scenario's own, by
    names of a word or two with their unit, such as "orphans" or "noticed s". In `more` None means "never".
    """

    tasks: int | None = None
    """Tasks that the broker took: what a client was told is accepted."""
    lost: int | None = None
    """Of these, those that never ran to their end, though there was time."""
    twice: int | None = None
    """Of these, those that ran to their end more than once."""
    overlapping: int | None = None
    """Of these, those of which two runs went on at the same time."""
    recovery: float | None = None
    """Seconds from the end of the fault until work goes on everywhere; the worst of several."""
    lines: float | None = None
    """Log lines a second of one worker at INFO, without the lines of single tasks."""
    cpu: float | None = None
    """Cores used by one worker with its children while the fault lasted; 1.0 is a whole core."""
    more: dict[str, float | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    """What a reader needs to know to understand the figures: a sentence each."""

    def value(self, name: str) -> float | None:
        """A figure by its name, one of `more` included. Raises KeyError for a name that is not there."""
        return self.more[name] if name in self.more else vars(self)[name]


class Journal(Protocol):
    """What the tasks have written down: of each run its begin and its end, with id, process and time."""

    def ended(self) -> set[str]:
        """The ids of the tasks that ran to their end at least once."""

    def runs(self, task_id: str) -> int:
        """How many runs of a task have begun."""


class Server(Protocol):
    """The broker's server."""

    url: str
    private: bool

    def stop(self) -> None:
        """End it as an operator would. Only of a private server."""

    def start(self) -> None:
        """Start it again on its data; returns when it answers."""


class Worker(Protocol):
    """A worker's process with its children, in a session of its own."""

    name: str
    pid: int
    log: Path
    """All that it has said."""

    def alive(self) -> bool: ...

    def children(self) -> list[int]: ...

    def cpu(self) -> float:
        """Seconds of CPU so far, children included."""

    def kill(self, *, children: bool = False) -> None:
        """SIGKILL to the parent, and with `children` to all of them at once."""

    def stop(self, timeout: float = 10.0) -> int | None:
        """SIGTERM, then SIGKILL to what is left. The exit code, None when it had to be killed."""


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    code: int | None
    """None: it hung and was killed."""
    seconds: float
    out: str
    err: str


class Bench(Protocol):
    """What a scenario runs in: one contender on one broker, with a queue and a journal of its own."""

    contender: str
    """"umbel" or "celery"."""
    broker: str
    """"redis" or "amqp"."""
    short: bool
    queue: str
    """The queue of tasks. On Redis it is the key of a list, on AMQP a durable queue of this name."""
    folder: Path
    """A temporary folder."""
    results: str
    """The URL of a Redis that keeps results, apart from the broker."""

    @property
    def url(self) -> str:
        """The broker's, as umbel and Celery read it."""

    @property
    def server(self) -> Server: ...

    @property
    def journal(self) -> Journal: ...

    def worker(
        self,
        name: str = "w1",
        *,
        pool: str = "prefork",
        concurrency: int = 2,
        url: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Worker:
        """Start a worker with best-practice settings (`settings` on top), and return when it consumes."""

    def send(self, count: int = 1, task: str = "note", *arguments: Any, url: str | None = None) -> list[str]:
        """Have the contender's client, in a process of its own, send tasks; their ids. They are in the broker.

        Tasks: `note(seconds)` writes its begin and its end to the journal with so many seconds of sleep between them;
        `answer(value)` returns what it is given and keeps a result. See `faults/tasks.py` for the rest.
        """

    def program(
        self,
        module: str,
        *arguments: str,
        timeout: float = 60.0,
        url: str | None = None,
        settings: Mapping[str, Any] | None = None,
    ) -> Ended:
        """Run `python -m faults.programs.<module>` with the contender's app; it is killed after `timeout` seconds.

        There `from faults.programs.app import app` is the contender's app with the same settings as the workers'.
        """

    def wait(self, until: Callable[[], object], seconds: float) -> bool:
        """Wait until something is so, or the time is up; whether it is so."""

    def count(self, ids: Iterable[str]) -> Figures:
        """Figures with `tasks`, `lost`, `twice` and `overlapping` of these ids, by the journal as it is now."""

    def redis(self) -> Any:
        """A `redis.Redis` of redis-py on the broker's database, for putting things there past every client."""

    def channel(self) -> Any:
        """A channel of py-amqp on the broker, for the same; its connection is closed with the bench.

        `channel.basic_publish(amqp.Message(body, **properties), "", bench.queue)`; `channel.basic_get(queue)`.
        """


class Scenario(Protocol):
    """A module as described above."""

    NAME: str
    TITLE: str
    BROKERS: tuple[str, ...]
    STOPS: bool
    LIMITS: Limits

    def run(self, bench: Bench) -> Figures: ...
