"""Several scenarios at once, each lot in a process of its own with servers of its own, so that nothing is shared."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness.failure import Failure

from faults.catalogue import SCENARIOS

STOP_TIMEOUT = 60.0


def side_by_side(
    program: str, arguments: list[str], options: argparse.Namespace, take: Callable[[list[Any]], object]
) -> None:
    """Run what is wanted in up to `--at-once` processes and hand on their rows, also of those that were interrupted.

    Raises Failure when one ends without its rows.
    """
    with tempfile.TemporaryDirectory(prefix="faults-rows-") as folder:
        running: list[tuple[subprocess.Popen[bytes], Path]] = []
        try:
            for number, (broker, names) in enumerate(_lots(options)):
                rows = Path(folder) / str(number)
                own = ["--only", ",".join(names), "--brokers", broker, "--rows", str(rows)]
                command = [sys.executable, program, *arguments, *own]
                running.append((subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True), rows))
            for process, _ in running:
                process.wait()
        finally:
            for process, _ in running:
                if process.poll() is None:
                    process.terminate()
            for process, rows in running:
                process.wait(STOP_TIMEOUT)
                take(json.loads(rows.read_text()) if rows.exists() else [])
        if any(not rows.exists() for _, rows in running):
            raise Failure("not all of the processes came to an end; see what they said above")


def _lots(options: argparse.Namespace) -> list[tuple[str, list[str]]]:
    """Brokers and names of scenarios, a lot for each process. A lot has one broker, so that it starts one server."""
    lots: list[tuple[str, list[str]]] = []
    brokers = [broker for broker in ("redis", "amqp") if broker in options.brokers]
    for number, broker in enumerate(brokers):
        names = [each.NAME for each in SCENARIOS if each.NAME in options.only and broker in each.BROKERS]
        share = (options.at_once + len(brokers) - 1 - number) // len(brokers)
        parts = [names[start::share] for start in range(min(max(share, 1), len(names)))]
        lots += [(broker, part) for part in parts]
    return lots
