"""Options that Celery has and umbel does not have yet. They are refused, because ignoring them would be a lie."""

from __future__ import annotations

from typing import Any

import click

WORKER = (
    (("-B", "--beat"), True, "periodic tasks"),
    (("-s", "--schedule", "--schedule-filename"), False, "periodic tasks"),
    (("--scheduler",), False, "periodic tasks"),
    (("-E", "--task-events", "--events"), True, "monitoring events"),
    (("--disable-prefetch",), True, "taking tasks only when a slot is free"),
    (("--heartbeat-interval",), False, "choosing the interval of heartbeats"),
)


def planned(options: tuple[tuple[tuple[str, ...], bool, str], ...]) -> list[click.Option]:
    """Hidden options that fail when they are used."""
    return [_refused(names, flag, what) for names, flag, what in options]


def _refused(names: tuple[str, ...], flag: bool, what: str) -> click.Option:
    def refuse(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        if value:
            raise click.UsageError(f"{'/'.join(names)} is not there yet in umbel: {what}. Leave it out.", ctx)

    return click.Option(names, is_flag=flag, hidden=True, expose_value=False, callback=refuse)
