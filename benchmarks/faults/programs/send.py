"""Send tasks and print their ids: `python -m faults.programs.send <task> <count> <arguments as JSON>`."""

from __future__ import annotations

import json
import sys
import uuid

from faults.programs.app import app


def main(name: str, count: int, arguments: list[object]) -> None:
    task = app.tasks[f"faults.{name}"]
    for _ in range(count):
        task_id = uuid.uuid4().hex
        task.apply_async(tuple(arguments), task_id=task_id)
        print(task_id)
    app.close()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), json.loads(sys.argv[3]))
