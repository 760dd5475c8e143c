"""Malformed messages put straight into the queue, each kind among good ones: see `faults/kinds.py`."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any

import amqp
import redis

from faults.bench import Bench
from faults.kinds import NOBODY, Fate, Kind, Put, good, kinds
from faults.scenario import Figures, at_most
from faults.worker import OF_A_TASK, Worker

NAME = "malformed"
TITLE = "malformed messages of over 80 kinds put straight into the queue, each kind among 200 good tasks"
BROKERS = ("redis", "amqp")
STOPS = True
_NONE = at_most(0)
_PROMISES = dict.fromkeys(("lost", "twice", "kinds that end it", "kinds that stop it", "bad unsaid", "bad run"), _NONE)
LIMITS = {"redis": _PROMISES, "amqp": _PROMISES}

QUIET = 8.0
"""Seconds without any news of the good tasks after which the worker counts as one that consumes no more."""
PATIENT = 45.0
"""The same while messages of many megabytes are moved about, which takes a busy server seconds for each."""
AGAIN = 16.0
"""The same after a restart: more than the visibility timeout of Celery's app."""


@dataclass
class Tally:
    """What the kinds have brought about so far."""

    good: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    stopped: list[str] = field(default_factory=list)
    bad: int = 0
    unsaid: int = 0
    ran: int = 0


def run(bench: Bench) -> Figures:
    place, tally = _Place(bench), Tally()
    worker = bench.worker(settings={"worker_dead_letter_queue": place.dead} if bench.contender == "umbel" else None)
    since = worker.at()
    each = 20 if bench.short else 200
    tried = [kind for kind in kinds() if bench.broker in kind.brokers and not (bench.short and kind.large)]
    for kind in tried:
        _try_kind(bench, place, worker, kind, each, tally)
    lines = [line for line in worker.said(since).splitlines() if not OF_A_TASK.search(line)]
    figures = bench.count(tally.good)
    figures.more = {
        "kinds": len(tried),
        "kinds that end it": len(tally.ended),
        "kinds that end it again": len(tally.again),
        "kinds that stop it": len(tally.stopped),
        "bad": tally.bad,
        "bad unsaid": tally.unsaid,
        "bad run": tally.ran,
        "log kB a bad one": round(sum(map(len, lines)) / 1000 / max(1, tally.bad), 1),
    }
    figures.notes = [
        "A bad message is said when it is in a dead-letter queue or its caller finds a failed result.",
        "A worker that has ended is restarted once with the queue as it is, and then with an empty one.",
    ]
    for said, names in (("ends", tally.ended), ("ends again", tally.again), ("stops consuming", tally.stopped)):
        if names:
            figures.notes.append(f"{bench.contender} on {bench.broker} {said} with: {'; '.join(names)}.")
    return figures


def _try_kind(bench: Bench, place: _Place, worker: Worker, kind: Kind, each: int, tally: Tally) -> None:
    puts = kind.on(bench.broker)
    ones = [good() for _ in range(each)]
    ids = [one.task_id for one in ones]
    tally.good += ids
    place.put([*ones[: each // 2], *puts, *ones[each // 2 :]])
    _settle(bench, worker, ids, PATIENT if kind.large else QUIET)
    left = set(ids) - bench.journal.ended()
    if not worker.alive():
        tally.ended.append(kind.name)
        worker.launch()
        _settle(bench, worker, ids, AGAIN)
        if not worker.alive():
            tally.again.append(kind.name)
        left = set()
    elif left:
        tally.stopped.append(kind.name)
    _judge(bench, place, puts, tally, PATIENT if kind.large else 3.0)
    if tally.ended[-1:] == [kind.name] or left:
        worker.stop(5.0)
        place.empty()
        worker.start()


def _settle(bench: Bench, worker: Worker, ids: list[str], quiet: float) -> None:
    """Wait until the good ones have run, the worker has ended, or nothing comes any more."""
    wanted, begin = set(ids), time.monotonic()
    while worker.alive() and wanted - bench.journal.ended():
        now = time.monotonic()
        if now - max(bench.journal.last, begin) > quiet:
            return
        time.sleep(0.005)


def _judge(bench: Bench, place: _Place, puts: list[Put], tally: Tally, patience: float) -> None:
    """Count the bad ones that nobody is told of, and those that ran although nobody can have understood them."""
    bad = [put for put in puts if put.fate in (Fate.DEAD, Fate.FAILED)]
    tally.bad += len(bad)
    tally.ran += sum(bool(put.task_id and bench.journal.runs(put.task_id)) for put in bad if put.fate is Fate.DEAD)
    ids = {put.task_id for put in bad}
    known: set[str] = set()
    nameless = 0
    end = time.monotonic() + patience
    while True:
        for letter in place.letters():
            task_id = letter.get("id")
            if isinstance(task_id, str) and task_id in ids:
                known.add(task_id)
            elif letter.get("task") != NOBODY:  # else it follows from a good task
                nameless += 1
        unsaid = [put for put in bad if put.task_id not in known and not place.failed(put.task_id)]
        missing = max(0, len(unsaid) - nameless)
        if not missing or time.monotonic() > end:
            tally.unsaid += missing
            return
        time.sleep(0.1)


class _Place:
    """The queue, the dead-letter queue and the results, past both contenders."""

    def __init__(self, bench: Bench) -> None:
        self._queue = bench.queue
        self.dead = f"{bench.queue}.dead"
        self._redis = bench.redis() if bench.broker == "redis" else None
        self._channel = bench.channel() if bench.broker == "amqp" else None
        self._results = redis.Redis.from_url(bench.results)
        if self._channel is not None:
            self._channel.queue_declare(self.dead, durable=True, auto_delete=False)

    def put(self, puts: list[Put]) -> None:
        if self._redis is not None:
            with self._redis.pipeline(transaction=False) as pipe:
                for put in puts:
                    pipe.lpush(self._queue, put.on_redis(self._queue))
                pipe.execute()
            return
        assert self._channel is not None
        for put in puts:
            self._channel.basic_publish(amqp.Message(put.body, **put.on_amqp()), "", self._queue)

    def letters(self) -> list[dict[str, Any]]:
        """The headers of what is in the dead-letter queue, which is empty then."""
        found: list[dict[str, Any]] = []
        if self._redis is not None:
            while (entry := self._redis.rpop(self.dead)) is not None:
                found.append(json.loads(entry)["headers"])
            return found
        assert self._channel is not None
        while (message := self._channel.basic_get(self.dead, no_ack=True)) is not None:
            found.append(message.properties.get("application_headers") or {})
        return found

    def failed(self, task_id: str) -> bool:
        """Whether the caller of a task finds that it failed."""
        document = self._results.get(f"celery-task-meta-{task_id}") if task_id else None
        return document is not None and json.loads(document).get("status") == "FAILURE"

    def empty(self) -> None:
        """Take away all that is in the queue or held of it, while there is no worker."""
        if self._redis is not None:
            self._redis.flushdb()
        if self._channel is not None:
            self._channel.queue_purge(self._queue)
