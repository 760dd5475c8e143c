"""What one measurement runs in: a contender on a broker, with a queue, a ledger and an environment of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from harness.environment import bytecode
from harness.failure import Failure
from harness.ledger import Ledger
from harness.settings import FOLDER, Settings

CLIENT_TIMEOUT = 300.0


class Bench:
    """Starts producers; knows where everything is. Close it to remove the ledger."""

    def __init__(self, settings: Settings, contender: str, broker: str, measure: str) -> None:
        self.settings = settings
        self.contender = contender
        self.broker = broker
        self.measure = measure
        self.queue = f"bench-{settings.run}-{contender}"
        self.file = settings.out / f"{self.queue}.db"
        self.log = settings.out / "logs" / f"{contender}-{broker}-{measure}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger()

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.ledger.close()

    def environment(self) -> dict[str, str]:
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("CELERY_", "UMBEL_", "BENCH_"))
        }
        return bytecode(environment) | {
            "BENCH_BROKER": self.broker,
            "BENCH_REDIS": self.settings.redis,
            "BENCH_RESULTS": self.settings.results,
            "BENCH_AMQP": self.settings.amqp,
            "BENCH_QUEUE": self.queue,
            "BENCH_FILE": str(self.file),
            "BENCH_LEDGER": str(self.ledger.path),
            "BENCH_MEASURE": self.measure,
            "PYTHONPATH": str(FOLDER),
            "PYTHONWARNINGS": "ignore",
            "PYTHONHASHSEED": "0",
        }

    def arguments(self, command: list[str], number: int) -> list[str]:
        """A set-up's command with its names filled in; `number` tells processes of one set-up apart."""
        names = {
            "bin": str(Path(sys.executable).parent),
            "queue": self.queue,
            "redis": self.settings.redis,
            "folder": str(FOLDER),
            "name": f"bench{number}",
        }
        return [part.format(**names) for part in command]

    def client(self, action: str, count: int = 0) -> dict[str, Any]:
        """What the contender's producer process answers. Raises Failure with the end of what it said."""
        command = [sys.executable, "-m", "harness.client", self.contender, action, str(count)]
        try:
            done = subprocess.run(
                command, cwd=FOLDER, env=self.environment(), capture_output=True, text=True, timeout=CLIENT_TIMEOUT
            )
        except subprocess.TimeoutExpired as error:
            raise Failure(f"{self.contender}: {action} took longer than {CLIENT_TIMEOUT:.0f} s") from error
        if done.returncode != 0 or not done.stdout.strip():
            said = "\n".join(done.stderr.splitlines()[-12:])
            raise Failure(f"{self.contender}: {action} ended with code {done.returncode}\n{said}")
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return answer
