"""Settings of the queues that carry remote control commands."""

from __future__ import annotations

from umbel_kernel.setting import Setting

CONTROL = (
    Setting("control_queue_ttl", "float|none", 300.0, "Seconds that a command waits in a queue before it is dropped."),
    Setting(
        "control_queue_expires", "float|none", 10.0, "Seconds without a reader after which a command queue is deleted."
    ),
    Setting("control_queue_exclusive", "bool", True, "Whether a command queue belongs to one connection only."),
    Setting("control_queue_durable", "bool", False, "Whether a command queue outlives a restart of the broker."),
    Setting("control_exchange", "str", "celery", "The first part of the names of the command exchanges."),
)
