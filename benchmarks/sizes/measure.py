"""Sends each workflow with one library and lets its worker run it: `python -m sizes.measure ours 10,100 URL`.

Prints a line of JSON for each: its tasks, the bytes sent by the call, those sent until all was done, and the largest
message.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

from sizes.flows import FLOWS, MOST
from sizes.tap import Tap

PATIENCE = 300.0
QUEUE = "celery"


def main(library: str, counts: list[int], url: str) -> None:
    kit = importlib.import_module(f"sizes.{library}")
    program = Path(sys.executable).parent / kit.WORKER
    command = [
        str(program),
        "-A",
        f"sizes.{library}",
        "worker",
        "-P",
        "solo",
        "-c",
        "1",
        "-l",
        "ERROR",
        "-n",
        "sizes@%h",
    ]
    for name, make in FLOWS.items():
        for count in counts:
            if count > MOST.get(name, count):
                continue
            tap = Tap(url)
            try:
                flow = make(kit, kit.noop, count)
                result = flow.apply_async()
            except RecursionError:
                print(json.dumps({"flow": name, "count": count, "failure": "RecursionError"}), flush=True)
                continue
            # No worker runs yet, so these are the messages of the call and no others.
            sent = tap.waiting(QUEUE)
            worker = subprocess.Popen(command, env=os.environ, stdout=subprocess.DEVNULL)
            try:
                result.get(timeout=PATIENCE)
            finally:
                worker.terminate()
                worker.wait()
            sizes = tap.all()
            tap.close()
            said = {"tasks": len(sizes), "sent": sum(sent), "all": sum(sizes), "largest": max(sizes)}
            print(json.dumps({"flow": name, "count": count, **said}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], [int(count) for count in sys.argv[2].split(",")], sys.argv[3])
