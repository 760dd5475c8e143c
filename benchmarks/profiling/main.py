"""The command line of profiles.py: profiles a producer and a worker on each broker and puts them side by side."""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from harness import page
from harness.bench import Bench
from harness.failure import Failure
from harness.measures import stock
from harness.settings import FOLDER, Settings
from harness.stock import RedisStock
from harness.worker import Worker
from rich.console import Console
from rich.table import Table

from profiling.areas import DELAY, WORKER, by_area

NAMES = {"redis": "Redis", "amqp": "AMQP", "sqlite": "SQLite"}
TITLES = {"delay": "delay(), one after another", "worker": "A worker (solo, prefetch 128) on a full queue"}
AREAS = {"delay": DELAY, "worker": WORKER}
WARM_UP = 1_000
"""Tasks before the worker is looked at; `worker.py` has the same."""
MOST_WORKED = 100_000
COMMAND = ["{bin}/umbel", "-A", "profiling.worker", "worker", "--loglevel=ERROR", "-n", "{name}@%h", "-Q", "{queue}",
           "-P", "solo", "-c", "1", "--prefetch-multiplier", "128"]  # fmt: skip
TIMEOUT = 300.0

Profile = dict[str, Any]


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="benchmarks/profiles.py", description="Where the microseconds of delay() and of a worker go."
    )
    plain = Settings()
    made.add_argument("--brokers", default="redis,amqp", metavar="NAME,…", help="of redis,amqp,sqlite (%(default)s)")
    made.add_argument("--tasks", type=int, default=40_000, help="tasks sent, and tasks worked off (%(default)s)")
    made.add_argument("--functions", type=int, default=0, metavar="N", help="also name the N functions that take most")
    made.add_argument("--redis", default=plain.redis, metavar="URL", help="a database that is emptied (%(default)s)")
    made.add_argument("--results", default=plain.results, metavar="URL", help="another, for results (%(default)s)")
    made.add_argument("--amqp", default=plain.amqp, metavar="URL", help="an AMQP server")
    made.add_argument("--force", action="store_true", help="empty the Redis databases though they hold something")
    made.add_argument("--write-readme", action="store_true", help="put the tables into README.md")
    return made


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    brokers = [name.strip() for name in options.brokers.split(",")]
    if unknown := [name for name in brokers if name not in NAMES]:
        print(f"{', '.join(unknown)}: choose among {', '.join(NAMES)}", file=sys.stderr)
        return 2
    if not 2_000 <= options.tasks <= MOST_WORKED:
        print(f"--tasks must be between 2,000 and {MOST_WORKED:,}, not {options.tasks:,}", file=sys.stderr)
        return 2
    settings = replace(Settings(), tasks=options.tasks, redis=options.redis, results=options.results, amqp=options.amqp)
    shelf = RedisStock(settings) if "redis" in brokers else None
    found: dict[str, dict[str, Profile]] = {"delay": {}, "worker": {}}
    try:
        if shelf is not None:
            shelf.claim(options.force)
        for broker in brokers:
            for what, take in (("delay", _producer), ("worker", _worker)):
                print(f"{what} on {NAMES[broker]} …", flush=True)
                found[what][broker] = take(settings, broker)
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 2
    finally:
        if shelf is not None:
            shelf.release()
    for what, profiles in found.items():
        _show(what, profiles, options.functions)
    if options.write_readme:
        _write(found, shlex.join(["uv", "run", "benchmarks/profiles.py", *arguments]), options.tasks)
    return 0


def _producer(settings: Settings, broker: str) -> Profile:
    with Bench(settings, "umbel", broker, "profile") as bench:
        shelf = stock(bench, _contender(bench))
        try:
            command = [sys.executable, "-m", "profiling.producer", str(settings.tasks)]
            done = subprocess.run(
                command, cwd=FOLDER, env=bench.environment(), capture_output=True, text=True, timeout=TIMEOUT
            )
        finally:
            shelf.clear()
    if done.returncode != 0:
        raise Failure(f"the producer ended with code {done.returncode}\n{done.stderr[-2000:]}")
    found: Profile = json.loads(done.stdout.splitlines()[-1])
    return found


def _worker(settings: Settings, broker: str) -> Profile:
    half = (settings.tasks - WARM_UP) // 2
    with _Profiled(settings, "umbel", broker, "profile", half) as bench:
        shelf = stock(bench, _contender(bench))
        written = Path(f"{bench.file}.profile")
        try:
            bench.client("fill", settings.tasks)
            with Worker(bench, {"command": COMMAND, "processes": 1, "label": "profile"}) as worker:
                worker.wait(settings.tasks)
            if not written.exists():
                raise Failure("the worker wrote no profile", bench.log)
            found: Profile = json.loads(written.read_text())
        finally:
            written.unlink(missing_ok=True)
            shelf.clear()
    return found


class _Profiled(Bench):
    """A bench whose processes are told how many tasks make half of the work."""

    def __init__(self, settings: Settings, contender: str, broker: str, measure: str, half: int) -> None:
        super().__init__(settings, contender, broker, measure)
        self._half = half

    def environment(self) -> dict[str, str]:
        return super().environment() | {"BENCH_PROFILE_HALF": str(self._half)}


def _contender(bench: Bench) -> dict[str, Any]:
    return bench.client("describe")


def _lines(what: str, profiles: dict[str, Profile]) -> list[list[str]]:
    """An area each, with its microseconds of CPU a task on each broker; then all of them, and the time on the clock."""
    parts: dict[str, dict[str, float]] = {}
    for broker, profile in profiles.items():
        areas = by_area({(path, name): spent for path, name, spent in profile["seconds"]}, AREAS[what])
        whole = sum(areas.values()) or 1.0
        parts[broker] = {area: profile["cpu"] * 1e6 * spent / whole for area, spent in areas.items()}
    order = [area for area in dict.fromkeys(area for _, area in AREAS[what]) if any(area in p for p in parts.values())]
    lines = [[area, *(f"{parts[broker].get(area, 0.0):.1f}" for broker in profiles)] for area in order]
    lines.append(["all: µs of CPU a task", *(f"{profile['cpu'] * 1e6:.1f}" for profile in profiles.values())])
    lines.append(["µs on the clock a task", *(f"{profile['wall'] * 1e6:.1f}" for profile in profiles.values())])
    return lines


def _show(what: str, profiles: dict[str, Profile], functions: int) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140)
    shown = Table("area", title=TITLES[what], title_justify="left")
    for broker in profiles:
        shown.add_column(NAMES[broker], justify="right")
    for line in _lines(what, profiles):
        shown.add_row(*line)
    console.print(shown)
    for broker, profile in profiles.items() if functions else ():
        whole = sum(spent for *_, spent in profile["seconds"]) or 1.0
        print(f"{what} on {NAMES[broker]}:")
        for path, name, spent in sorted(profile["seconds"], key=lambda place: -place[2])[:functions]:
            print(f"  {spent / whole * profile['cpu'] * 1e6:6.2f} µs  {name}  {'/'.join(path.split('/')[-2:])}")


def _write(found: dict[str, dict[str, Profile]], command: str, tasks: int) -> None:
    parts = [f"Made by `{command}`: {tasks:,} tasks; µs of CPU a task, samples of a thousand a second."]
    for what, profiles in found.items():
        names = [NAMES[broker] for broker in profiles]
        rows = [["area", *names], ["---", *["---:"] * len(names)], *_lines(what, profiles)]
        parts.append(f"### {TITLES[what]}")
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    path = FOLDER / "README.md"
    page.put("\n\n".join(parts), path, "profiles")
    print(f"tables: {path}")
