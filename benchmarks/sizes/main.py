"""The command line of canvas_size.py: measures both libraries, one after the other, and puts them side by side."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shlex
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from harness import page
from harness.failure import Failure
from harness.settings import FOLDER

from sizes.flows import FLOWS
from sizes.server import Server

LIMITS = {"chain": 450, "group": 1_100, "nested chords": 2_000}
"""Bytes a task that a call may send, for the workflows of which that is promised."""

LIBRARIES = {"ours": "umbel", "theirs": "celery"}
TIMEOUT = 1_800.0

Figures = dict[tuple[str, int], dict[str, Any]]


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="benchmarks/canvas_size.py", description="Bytes of workflows on the wire.")
    made.add_argument("--counts", default="10,100,1000", metavar="N,…", help="numbers of tasks (%(default)s)")
    made.add_argument("--write-readme", action="store_true", help="put the table into README.md")
    made.add_argument("--here", action="store_true", help="in this environment, not the benchmark's own")
    return made


def main(arguments: list[str]) -> int:
    options = parser().parse_args(arguments)
    try:
        counts = [int(count) for count in options.counts.split(",")]
        found = {library: measured(library, counts) for library in LIBRARIES}
    except Failure as failure:
        print(failure, file=sys.stderr)
        return 2
    table = markdown(found, counts)
    print(table)
    if options.write_readme:
        command = shlex.join(["uv", "run", "benchmarks/canvas_size.py", *arguments])
        versions = ", ".join(f"{name} {version(name)}" for name in LIBRARIES.values())
        made = f"Made on {datetime.date.today()} by `{command}`; {versions}; JSON on Redis."
        page.put(f"{made}\n\n{table}", FOLDER / "README.md", "canvas-size")
    over = broken(found["ours"], counts)
    print(*over, sep="\n", file=sys.stderr)
    return 1 if over else 0


def measured(library: str, counts: list[int]) -> Figures:
    """What a process of its own found out about one library."""
    print(f"{LIBRARIES[library]} …", flush=True)
    with tempfile.TemporaryDirectory() as folder, Server(Path(folder)) as server:
        environment = {**os.environ, "BENCH_SIZES": server.url, "PYTHONPATH": str(FOLDER)}
        command = [sys.executable, "-m", "sizes.measure", library, ",".join(map(str, counts)), server.url]
        done = subprocess.run(
            command, cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
        )
    if done.returncode:
        raise Failure(f"{LIBRARIES[library]} ended with code {done.returncode}\n{done.stderr[-2000:]}")
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {(line["flow"], line["count"]): line for line in lines}


def markdown(found: dict[str, Figures], counts: list[int]) -> str:
    """Both side by side: the bytes a task that the call sends, those of the whole run, the largest message."""
    names = list(LIBRARIES.values())
    head = ["workflow", "tasks"]
    for what in ("sent by the call, a task", "all messages of the run, a task", "largest message"):
        head += [f"{what}: {name}" for name in names]
    rows = [head, ["---", *["---:"] * (len(head) - 1)]]
    for flow in FLOWS:
        for count in counts:
            if (flow, count) not in found["ours"]:
                continue
            both = [found[library][flow, count] for library in LIBRARIES]
            tasks = next((figures["tasks"] for figures in both if "tasks" in figures), count)
            row = [flow, f"{tasks:,}"]
            row += [shown(figures, "sent", figures.get("tasks", 1)) for figures in both]
            row += [shown(figures, "all", figures.get("tasks", 1)) for figures in both]
            row += [shown(figures, "largest", 1) for figures in both]
            rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def shown(figures: dict[str, Any], name: str, tasks: int) -> str:
    return figures["failure"] if "failure" in figures else f"{figures[name] / tasks:,.0f}"


def broken(figures: Figures, counts: list[int]) -> list[str]:
    """The limits that are not kept."""
    found = []
    for flow, limit in LIMITS.items():
        for count in counts:
            said = figures[flow, count]
            if "failure" in said or said["sent"] / said["tasks"] > limit:
                found.append(
                    f"{flow} of {count}: {shown(said, 'sent', said.get('tasks', 1))} bytes a task, not {limit}"
                )
    return found
