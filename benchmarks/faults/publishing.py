"""Publishing where it is hard: threads, forks, the end of a process, handlers of signals, finalizers."""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from faults.bench import Bench
from faults.scenario import Figures, at_most

NAME = "publishing"
TITLE = "publishing from threads, across forks, in handlers of atexit and signals, in finalizers, at a process's end"
BROKERS = ("redis", "amqp")
STOPS = False
_PROMISES = dict.fromkeys(("lost", "twice", "hangs"), at_most(0))
LIMITS = {"redis": _PROMISES, "amqp": _PROMISES}

TIME = 30.0
"""Seconds after which a program counts as one that hangs; the longest takes three."""
COUNT = 40
_CONTEXT = re.compile(r'(?m)^def ([a-z]\w*)\(\) -> None:\n    """(.*?)"""', re.DOTALL)


def contexts() -> dict[str, str]:
    """The contexts by name, with what each does. Read from the program, since it is the contender's to import it."""
    program = Path(__file__).parent / "programs" / "contexts.py"
    return dict(_CONTEXT.findall(program.read_text()))


def run(bench: Bench) -> Figures:
    figures = Figures(tasks=0, lost=0, twice=0)
    hangs, notes = 0, []
    for context in contexts():
        path = bench.folder / context
        path.touch()
        ended = bench.program("contexts", context, str(COUNT), str(path), timeout=TIME)
        promised, waiting = path.read_text().split(), _take(bench)
        lost = len(set(promised) - waiting.keys())
        twice = sum(count > 1 for count in waiting.values())
        hangs += ended.code is None
        figures.tasks = (figures.tasks or 0) + len(promised)
        figures.lost = (figures.lost or 0) + lost
        figures.twice = (figures.twice or 0) + twice
        said = [f"{lost} of {len(promised)} lost"] * bool(lost) + [f"{twice} twice"] * bool(twice)
        said += ["it hangs"] * (ended.code is None) + ["it promised nothing"] * (not promised)
        if said:
            notes.append(f"{bench.contender} on {bench.broker}, {context}: {', '.join(said)}.")
    figures.more = {"contexts": len(contexts()), "hangs": hangs}
    figures.notes = notes
    return figures


def _take(bench: Bench) -> Counter[str]:
    """How often the message of each task is in the queue, which is empty then."""
    found: Counter[str] = Counter()
    if bench.broker == "redis":
        server = bench.redis()
        while entries := server.rpop(bench.queue, 1000):
            found.update(json.loads(entry)["headers"]["id"] for entry in entries)
        return found
    channel = bench.channel()
    channel.queue_declare(bench.queue, durable=True, auto_delete=False)

    def count(message: Any) -> None:
        found[message.properties["application_headers"]["id"]] += 1

    channel.basic_consume(bench.queue, no_ack=True, callback=count)
    with contextlib.suppress(TimeoutError):
        while True:
            channel.connection.drain_events(timeout=0.5)
    channel.connection.close()
    return found
