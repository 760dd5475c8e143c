"""The banner that a worker prints when it starts."""

from __future__ import annotations

import platform
from typing import Any


def _slots(worker: Any) -> str:
    if worker.options.autoscale is None:
        return str(worker.concurrency)
    most, least = worker.options.autoscale
    return f"{{min={least}, max={most}}}"


def banner(worker: Any, version: str) -> str:
    """What Celery's users know to look for: app, transport, results, concurrency, queues, tasks."""
    app, queues = worker.app, worker.app.queues.consume_from
    # Not ``platform.platform()``: it starts a program for the processor's name, which takes 10 ms.
    system = f"{platform.system()}-{platform.release()}-{platform.machine()}"
    lines = [
        "",
        " o o o",
        f"  \\|/    {worker.hostname} v{version} (umbel)",
        f"   |     {system} {worker.started_at:%Y-%m-%d %H:%M:%S}",
        "",
        "[config]",
        f".> app:         {app.main or '__main__'}:{id(app):#x}",
        f".> transport:   {app.broker_text()}",
        f".> results:     {app.backend_text()}",
        f".> concurrency: {_slots(worker)} ({worker.pool_name})",
        ".> task events: OFF",
        "",
        "[queues]",
        *(
            f".> {queue.name:<16} exchange={queue.bindings[0].exchange.name}({queue.bindings[0].exchange.type}) "
            f"key={queue.bindings[0].routing_key}"
            for queue in queues
        ),
        "",
    ]
    if worker.shows_tasks:
        names = sorted(name for name in app.tasks if worker.shows_builtins or not name.startswith("celery."))
        lines += ["[tasks]", *(f"  . {name}" for name in names), ""]
    else:
        lines += ["Only what goes wrong is logged; -l INFO shows each task.", ""]
    return "\n".join(lines)
