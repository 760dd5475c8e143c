"""The command line of faults.py: reads what is wanted, does it, and writes down what came of it."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import Any

from harness.choice import some_of
from harness.failure import Failure
from harness.settings import FOLDER

from faults import report, table
from faults.bench import Bench
from faults.beside import side_by_side
from faults.catalogue import SCENARIOS
from faults.place import Servers
from faults.scenario import Figures, Scenario

CONTENDERS = ("umbel", "celery")
BROKERS = ("redis", "amqp")
OUT = FOLDER / "out"
PAGE = FOLDER.parent / "docs" / "reliability.md"


def parser() -> argparse.ArgumentParser:
    known = tuple(scenario.NAME for scenario in SCENARIOS)
    made = argparse.ArgumentParser(
        prog="benchmarks/faults.py",
        description="Do faults to umbel and to Celery, and count what is lost. Servers are private ones unless named.",
    )
    made.add_argument("--only", type=some_of(known), default=known, metavar="WHAT,…", help=", ".join(known))
    made.add_argument(
        "--contenders", type=some_of(CONTENDERS), default=CONTENDERS, metavar="NAME,…", help=", ".join(CONTENDERS)
    )
    made.add_argument("--brokers", type=some_of(BROKERS), default=BROKERS, metavar="NAME,…", help=", ".join(BROKERS))
    made.add_argument("--short", action="store_true", help="the same faults, each for a few seconds")
    made.add_argument("--redis", metavar="URL", help="your server; what would stop or fill it is left out")
    made.add_argument("--amqp", metavar="URL", help="likewise")
    made.add_argument("--save", type=Path, metavar="FILE", help="write the results there as well")
    made.add_argument("--write-docs", action="store_true", help="put the tables into docs/reliability.md")
    made.add_argument("--show", type=Path, nargs="+", metavar="FILE", help="do nothing: tables of saved results")
    made.add_argument(
        "--at-once", type=int, default=1, metavar="N", help="so many scenarios side by side, each on servers of its own"
    )
    made.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    made.add_argument(
        "--here", action="store_true", help="in the Python that runs this, not in the benchmark's own environment"
    )
    return made


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    # From now on only what was started is ended; a second Ctrl-C would leave a server behind.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    print("\nending everything that was started …", file=sys.stderr, flush=True)
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    try:
        if options.show:
            finish(_joined(options.show), options)
            return 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _interrupt)
        return _do(options, arguments)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 2


def _joined(files: list[Path]) -> dict[str, Any]:
    """Saved results; of several the last is the frame, and a later row replaces an earlier one of the same name."""
    rows: dict[tuple[str, str, str], Any] = {}
    said: dict[str, Any] = {}
    commands: list[str] = []
    for path in files:
        said = json.loads(path.read_text())
        commands.append(said["command"])
        rows.update({(row["scenario"], row["broker"], row["contender"]): row for row in said["rows"]})
    # The frame's own command last: what it made is the newest.
    return {**said, "command": "` and `".join(dict.fromkeys(commands)), "rows": in_order(list(rows.values()))}


def in_order(rows: list[Any]) -> list[Any]:
    """Rows in the order in which one run after another would have made them."""
    names = [scenario.NAME for scenario in SCENARIOS]
    return sorted(
        rows,
        key=lambda row: (
            names.index(row["scenario"]),
            BROKERS.index(row["broker"]),
            CONTENDERS.index(row["contender"]),
        ),
    )


def _do(options: argparse.Namespace, arguments: list[str]) -> int:
    rows: list[Any] = []
    complete = False
    with Servers(redis=options.redis, amqp=options.amqp) as servers:
        try:
            if options.at_once > 1 and not options.rows:
                side_by_side(sys.argv[0], arguments, options, rows.extend)
            else:
                for scenario, broker, contender in _plan(options, servers):
                    rows.append(_one(scenario, broker, contender, servers, options.short))
            complete = True
        except KeyboardInterrupt:
            print("interrupted: what came of it so far follows", file=sys.stderr)
    if options.rows:
        options.rows.write_text(json.dumps(rows))
        return 0
    if not rows:
        raise Failure("nothing was done")
    command = re.sub(r" --save[= ]\S+| --write-docs", "", shlex.join(["uv", "run", "benchmarks/faults.py", *arguments]))
    results = report.results(
        in_order(rows), command=command, contenders=options.contenders, short=options.short, complete=complete
    )
    OUT.mkdir(exist_ok=True)
    written = OUT / f"faults-{results['date'].replace(':', '')}.json"
    written.write_text(json.dumps(results, indent=1) + "\n")
    print(f"results: {written}")
    finish(results, options)
    if not complete:
        return 130
    return 1 if any(row["failure"] or (row["contender"] == "umbel" and row["misses"]) for row in rows) else 0


def _plan(options: argparse.Namespace, servers: Servers) -> list[tuple[Scenario, str, str]]:
    """What is to be done, in order. Says what is left out, and why."""
    there = []
    for broker in options.brokers:
        try:
            servers.get(broker)
        except Failure as failure:
            print(f"{broker} is left out: {failure}", file=sys.stderr)
            continue
        there.append(broker)
    plan = []
    for scenario in SCENARIOS:
        if scenario.NAME not in options.only:
            continue
        for broker in there:
            if broker not in scenario.BROKERS:
                continue
            if scenario.STOPS and not servers.private(broker):
                print(f"{scenario.NAME} on {broker} is left out: it would stop or fill your server", file=sys.stderr)
                continue
            plan += [(scenario, broker, contender) for contender in options.contenders]
    return plan


def _one(scenario: Scenario, broker: str, contender: str, servers: Servers, short: bool) -> Any:
    begin, figures, failure = time.monotonic(), None, ""
    head = f"{scenario.NAME}, {contender} on {broker}"
    if sys.stdout.isatty():
        print(f"{head} …", end="\r", flush=True)
    try:
        servers.clear(broker)
        with Bench(
            contender,
            broker,
            servers.get(broker),
            results=servers.results(),
            logs=OUT / "faults",
            label=scenario.NAME,
            short=short,
        ) as bench:
            figures = scenario.run(bench)
    except Failure as error:
        failure = str(error)
    except Exception:
        # A scenario's own fault is one row that could not be done; the others go on.
        failure = traceback.format_exc()
    row = report.row(scenario, broker, contender, figures, failure, time.monotonic() - begin)
    print(f"{head}: {_told(figures, row) if figures is not None else f'FAILED{chr(10)}{failure}'}", flush=True)
    return row


def _told(figures: Figures, row: Any) -> str:
    known = {name: value for name, value in vars(figures).items() if isinstance(value, int | float)} | figures.more
    said = ", ".join(f"{name} {report.shown(value)}" for name, value in known.items())
    missed = f"; MISSED: {'; '.join(row['misses'])}" if row["misses"] else ""
    return f"{said} ({row['seconds']:.0f} s){missed}"


def finish(results: dict[str, Any], options: argparse.Namespace) -> None:
    """Tables on the terminal; the results and the page where they were asked for."""
    table.show(results)
    if options.save:
        options.save.parent.mkdir(parents=True, exist_ok=True)
        options.save.write_text(json.dumps(results, indent=1) + "\n")
    if options.write_docs:
        table.write(results, PAGE)
        print(f"tables: {PAGE}")
