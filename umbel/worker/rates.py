"""Rate limits: tasks of one kind begin evenly spaced in this worker, and what has to wait holds up nothing else."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from umbel.worker.held import Held
from umbel.worker.timer import Entry, Timer
from umbel.worker.waiting import Waiting
from umbel_kernel.errors import ConfigurationError

MOST_WAITING = 1000
"""How many tasks wait here for their rate limits. More stay in the broker, or go back to it where it can wait."""

SLACK = 0.05
"""Seconds that a task may have been late without those after it being late, too: else a worker that looks at the time
now and then would not reach its rate."""

LONGEST_AWAY = 900.0
"""The longest time in seconds for which a task goes back to the broker: the limit may be changed meanwhile."""

_SPREAD = 100
_UNITS = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def per_second(limit: Any) -> float:
    """A rate limit as a number of tasks a second; 0 for none.

    Args:
        limit: None, a number a second, or a text such as ``"10/m"`` with ``s``, ``m`` or ``h`` as in Celery.

    Raises:
        ValueError: it is something else.
    """
    number, unit = limit or 0, ""
    if isinstance(number, str):
        text, _, unit = number.partition("/")
        number = float(text)
    if unit.strip() not in _UNITS or isinstance(number, bool) or not isinstance(number, int | float):
        raise ValueError(f"{limit!r} is no rate limit; give a number a second, or a text as '10/s', '10/m', '10/h'")
    if not 0 <= number < math.inf:
        raise ValueError(f"{limit!r} is no rate limit: the number is not negative, and finite")
    return number / _UNITS[unit.strip()]


class Bucket:
    """Holds one token, which comes back after a while.

    Args:
        rate: tokens a second.
        now: the monotonic time.
    """

    def __init__(self, rate: float, now: Callable[[], float]) -> None:
        self.rate = rate
        self._now = now
        self._next = -math.inf

    def wait(self) -> float:
        """Seconds until there is a token; 0 when there is."""
        return max(self._next - self._now(), 0.0)

    def take(self) -> bool:
        """Take the token; returns whether there was one."""
        now = self._now()
        if self._next > now:
            return False
        self._next = (self._next if now - self._next <= SLACK else now) + 1.0 / self.rate
        return True


class Line:
    """Tasks of one kind that wait for a token.

    Attributes:
        jobs: ids of their jobs, in order. One that is not held any more is passed over when it is its turn.
        due: there is a token, and the first may begin as soon as there is room.
    """

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.jobs: deque[int] = deque()
        self.due = False
        self.timer: Entry | None = None


class Limited(Protocol):
    """What is needed of the loop."""

    timer: Timer
    ready: deque[Held]
    later: dict[int, Held]
    waiting: Waiting


class Rates:
    """Keeps the rate limits of one worker's tasks. Used by the thread that turns the loop.

    Tasks that wait stand in the loop's ``later``, with all others whose time has not come.

    Args:
        loop: the worker's.

    Attributes:
        lines: by name of the task; of tasks with a limit. Empty where no task has one.
        due: those whose first task may begin.
    """

    def __init__(self, loop: Limited) -> None:
        self._loop = loop
        self.lines: dict[str, Line] = {}
        self.due: deque[Line] = deque()
        self._away = itertools.cycle(range(_SPREAD))

    def __len__(self) -> int:
        """How many wait; also some that are not held any more."""
        return sum([len(line.jobs) for line in self.lines.values()])

    @property
    def full(self) -> bool:
        """Whether no more are to wait here."""
        if not self.lines or len(self) < MOST_WAITING:
            return False
        later = self._loop.later
        for line in self.lines.values():
            line.jobs = deque(job_id for job_id in line.jobs if job_id in later)
        return len(self) >= MOST_WAITING

    def read(self, tasks: Mapping[str, Any]) -> None:
        """Take the limits from the tasks' ``rate_limit``.

        Raises:
            ConfigurationError: one of them cannot be understood.
        """
        for name, task in tasks.items():
            try:
                self.set(name, task.rate_limit)
            except ValueError as error:
                raise ConfigurationError(f"the rate limit of task {name}: {error}") from error

    def set(self, name: str, limit: Any) -> None:
        """Change the limit of a task, also of those that wait; None or 0 for none.

        Raises:
            ValueError: it cannot be understood; nothing is changed.
        """
        rate = per_second(limit)
        line = self.lines.get(name)
        if line is not None:
            self._rest(line)
        if not rate:
            if self.lines.pop(name, None) is not None and line is not None:
                self._loop.ready.extendleft(reversed(list(self._held(line))))
            return
        bucket = Bucket(rate, self._loop.timer.clock.monotonic)
        if line is None:
            self.lines[name] = Line(bucket)
        else:
            line.bucket = bucket
            self._schedule(line)

    def pick(self) -> Held | None:
        """The next task that may begin after its wait; ``lets`` is to be asked for it, or it has to be cancelled."""
        while self.due:
            for held in self._held(self.due[0]):
                return held
            self._rest(self.due[0])
        return None

    def lets(self, held: Held) -> bool:
        """Whether a task may begin now. If it may not, it waits here or in the broker."""
        line = self.lines.get(held.plan.name)
        if line is None:
            return True
        if (line.due or not line.jobs) and line.bucket.take():
            self._rest(line)
            self._schedule(line)
            return True
        wait = line.bucket.wait() + len(line.jobs) / line.bucket.rate
        if self.full:
            # Back before the line is empty, and not all at the same moment.
            away = min(wait, LONGEST_AWAY) * (0.5 + next(self._away) / _SPREAD / 2)
            if self._loop.waiting.park(held, max(away, 1.0)):
                return False
        self._loop.later[held.job.id] = held
        line.jobs.append(held.job.id)
        self._schedule(line)
        self._loop.waiting.wear(held, wait)
        return False

    def _held(self, line: Line) -> Iterable[Held]:
        later, jobs = self._loop.later, line.jobs
        while jobs:
            held = later.pop(jobs.popleft(), None)
            if held is not None:
                yield held

    def _schedule(self, line: Line) -> None:
        if line.jobs and not line.due and line.timer is None:
            line.timer = self._loop.timer.call_after(line.bucket.wait(), self._come_due, line)

    def _come_due(self, line: Line) -> None:
        line.timer, line.due = None, True
        self.due.append(line)

    def _rest(self, line: Line) -> None:
        """Wait for the next token."""
        if line.timer is not None:
            line.timer.cancel()
            line.timer = None
        if line.due:
            line.due = False
            self.due.remove(line)
