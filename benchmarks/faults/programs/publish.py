"""Publish steadily, whatever happens: `python -m faults.programs.publish <file> <a second> <seconds of a task>`.

Each attempt is a line of JSON in the file: the id, whether it was taken, how long the call lasted, what it raised. It
ends, in order, when its standard input does.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid

from faults.programs.app import app


def main(path: str, rate: float, seconds: float) -> None:
    task = app.tasks["faults.note"]
    over = threading.Event()

    def listen() -> None:
        sys.stdin.read()
        over.set()

    threading.Thread(target=listen, daemon=True).start()
    with open(path, "a", buffering=1) as file:
        due = time.monotonic()
        while not over.is_set():
            task_id, raised = uuid.uuid4().hex, ""
            began = time.monotonic()
            file.write(json.dumps({"id": task_id, "at": began}) + "\n")
            try:
                task.apply_async((seconds,), task_id=task_id)
            except Exception as error:
                raised = f"{type(error).__name__}: {error}"
            took = time.monotonic() - began
            file.write(
                json.dumps({"id": task_id, "at": began, "taken": not raised, "took": took, "raised": raised}) + "\n"
            )
            due = max(due + 1 / rate, time.monotonic() - 1)
            over.wait(max(0.0, due - time.monotonic()))
    app.close()


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]), float(sys.argv[3]))
