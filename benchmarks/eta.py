"""Tasks with an ETA in bulk: how late they run, and how much the worker grows.

`uv run benchmarks/eta.py burst` sends 10,000 tasks that are due over 4 seconds, `uv run benchmarks/eta.py far` 100,000
that are due within the hour and then 1,000 that are due soon. The queue is deleted in the end; what waits in RabbitMQ
comes back later and is dropped, so give it a virtual host of its own.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

KIND = os.environ.get("ETA_CONTENDER", "umbel")
BROKER = os.environ.get("ETA_BROKER", "redis://127.0.0.1:6379/12")
NOTES = os.environ.get("ETA_NOTES", "")
QUEUE = "umbel-benchmark-eta"

if KIND == "celery":
    from celery import Celery as App
else:
    from umbel import Umbel as App

app = App("eta", broker=BROKER)
app.conf.update(task_ignore_result=True, task_default_queue=QUEUE, broker_connection_retry_on_startup=True)


@app.task(name="eta.note")
def note(due: float) -> None:
    """Write down how late it is."""
    descriptor = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, b"%f\n" % (time.time() - due))
    os.close(descriptor)


def send(dues: Sequence[float]) -> None:
    """Send a task for each of these times."""
    for due in dues:
        note.apply_async((due,), eta=datetime.fromtimestamp(due, UTC))


def lateness(path: Path) -> list[float]:
    """What was noted so far, in milliseconds, the least first."""
    return sorted(float(line) * 1000 for line in path.read_text().split()) if path.exists() else []


class Watched:
    """A worker whose memory is looked at."""

    def __init__(self, notes: Path, log: Path) -> None:
        command = [sys.executable, "-m", KIND, "-A", "eta", "worker", "-c", "2", "-l", "WARNING"]
        env = {**os.environ, "ETA_CONTENDER": KIND, "ETA_BROKER": BROKER, "ETA_NOTES": str(notes)}
        with log.open("wb") as file:
            self.process = subprocess.Popen(command, cwd=Path(__file__).parent, env=env, stdout=file, stderr=file)

    def memory(self) -> float:
        """Resident MB of its main process."""
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        return int(text.split("Rss:")[1].split()[0]) / 1024

    def cpu(self) -> float:
        """Seconds of CPU of its main process."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def end(self) -> None:
        """End it in good order, or else kill it."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()


def measure(options: Any, folder: Path) -> str:
    """Run it, and say what came of it."""
    notes = folder / "notes"
    worker = Watched(notes, folder / "log")
    try:
        send([time.time()] * 20)
        while len(lateness(notes)) < 20:
            if worker.process.poll() is not None:
                return (folder / "log").read_text()
            time.sleep(0.1)
        notes.unlink()
        base, began = worker.memory(), worker.cpu()
        if options.what == "far":
            now = time.time()
            send([now + 600 + 3000 * random.random() for _ in range(options.far)])
        count, seconds = (10_000, 4.0) if options.what == "burst" else (1_000, 5.0)
        first = time.time() + options.lead
        send([first + number * seconds / count for number in range(count)])
        grown = 0.0
        while time.time() < first + seconds + 30 and len(lateness(notes)) < count:
            grown = max(grown, worker.memory() - base)
            time.sleep(0.2)
        late = lateness(notes)
        shares = [f"{late[int(share * (len(late) - 1))]:.0f}" for share in (0.5, 0.99, 1)] if late else ["-"] * 3
        return (
            f"{KIND} {options.what}: {len(late)} of {count} ran; ms late, median, p99, most: {', '.join(shares)}; "
            f"MB grown {grown:.1f} from {base:.1f}; s of CPU {worker.cpu() - began:.1f}"
        )
    finally:
        worker.end()
        if KIND == "umbel":
            app.connections.broker().delete([QUEUE])
        else:
            app.control.purge()


def main() -> None:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("burst", "far"))
    parser.add_argument("--contender", choices=("umbel", "celery"), default=KIND)
    parser.add_argument("--broker", default=BROKER, metavar="URL")
    parser.add_argument("--lead", type=float, default=10.0, metavar="SECONDS", help="until the first is due")
    parser.add_argument("--far", type=int, default=100_000, metavar="N", help="how many are due within the hour")
    options = parser.parse_args()
    if (options.contender, options.broker) != (KIND, BROKER):
        # The app is made when this module is imported.
        os.environ.update(ETA_CONTENDER=options.contender, ETA_BROKER=options.broker)
        os.execv(sys.executable, [sys.executable, *sys.argv])
    with tempfile.TemporaryDirectory() as folder:
        print(measure(options, Path(folder)))


if __name__ == "__main__":
    main()
