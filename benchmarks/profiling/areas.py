"""Which part of the work a file does. The first line that a path contains decides."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

DELAY = (
    ("/umbel/app/task.py", "the call: arguments checked, the result's handle"),
    ("/umbel/app/calls.py", "the call: arguments checked, the result's handle"),
    ("/umbel/results/", "the call: arguments checked, the result's handle"),
    ("/umbel/model/current.py", "the call: arguments checked, the result's handle"),
    ("/umbel/app/sender.py", "the message: headers, id, short texts of the arguments"),
    ("/umbel/app/plan.py", "the message: headers, id, short texts of the arguments"),
    ("/umbel/model/", "the message: headers, id, short texts of the arguments"),
    ("/umbel/wire/", "the body: arguments serialised"),
    ("/umbel_serializer_", "the body: arguments serialised"),
    ("/umbel/app/", "publishing: this process's connection, declared queues"),
    ("/template.py", "the envelope or frames written from the template"),
    ("/envelope.py", "the envelope or frames written from the template"),
    ("/content.py", "the envelope or frames written from the template"),
    ("/table.py", "the envelope or frames written from the template"),
    ("/umbel_broker_redis/broker.py", "the envelope or frames written from the template"),
    ("/umbel_broker_", "the socket: write, and what the server answers"),
    ("/umbel_client_", "the socket: write, and what the server answers"),
    ("", "other"),
)

WORKER = (
    ("/contenders/", "the task itself, with the benchmark's mark"),
    ("/profiling/", "the task itself, with the benchmark's mark"),
    ("/harness/", "the task itself, with the benchmark's mark"),
    ("/umbel_broker_redis/envelope.py", "decoding: envelope, or frames and header tables"),
    ("/umbel_broker_amqp/content.py", "decoding: envelope, or frames and header tables"),
    ("/umbel_broker_amqp/table.py", "decoding: envelope, or frames and header tables"),
    ("/umbel_broker_amqp/layout.py", "decoding: envelope, or frames and header tables"),
    ("/umbel_broker_amqp/unpacker.py", "decoding: envelope, or frames and header tables"),
    ("/umbel_broker_", "the broker: receive, acknowledge, the socket"),
    ("/umbel_client_", "the broker: receive, acknowledge, the socket"),
    ("/umbel/worker/dispatch.py", "deciding by the headers"),
    ("/umbel/worker/revoked.py", "deciding by the headers"),
    ("/umbel/worker/limits.py", "deciding by the headers"),
    ("/umbel/wire/inbound.py", "deciding by the headers"),
    ("/umbel/wire/headers.py", "deciding by the headers"),
    ("/umbel/wire/", "the body: read and checked"),
    ("/umbel_serializer_", "the body: read and checked"),
    ("/umbel/app/", "running: request, tracer, outcome"),
    ("/umbel/model/", "running: request, tracer, outcome"),
    ("/umbel_pool_", "the pool: jobs in, outcomes out"),
    ("/umbel/worker/settling.py", "settling: what is due to be stored, published and acknowledged"),
    ("/umbel/worker/", "the loop: turns, room, timers, what is held"),
    ("", "other"),
)


def by_area(seconds: Mapping[tuple[str, str], float], areas: tuple[tuple[str, str], ...]) -> dict[str, float]:
    """The seconds of each area, in the order of the list; those without any are left out."""
    found: Counter[str] = Counter()
    for (path, _), spent in seconds.items():
        found[next(area for part, area in areas if part in path)] += spent  # type: ignore[assignment]
    return {area: found[area] for area in dict.fromkeys(area for _, area in areas) if found[area]}
