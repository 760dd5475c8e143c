"""Settings of the events that workers send for monitors."""

from __future__ import annotations

from umbel_kernel.setting import Setting

EVENT = (
    Setting(
        "event_queue_expires", "float|none", 60.0, "Seconds without a reader after which an event queue is deleted."
    ),
    Setting("event_queue_ttl", "float|none", 5.0, "Seconds that an event waits in a queue before it is dropped."),
    Setting("event_queue_prefix", "str", "celeryev", "The first part of the names of event queues."),
    Setting("event_queue_exclusive", "bool", True, "Whether an event queue belongs to one connection only."),
    Setting("event_queue_durable", "bool", False, "Whether an event queue outlives a restart of the broker."),
    Setting("event_serializer", "str", "json", "The serializer that events are written with."),
    Setting("event_exchange", "str", "celeryev", "The exchange that events are published to."),
)
