"""``umbel purge``."""

from __future__ import annotations

import click

from umbel.cli.app_command import AppCommand
from umbel.cli.option_types import NameList


@click.command(cls=AppCommand, without="broker")
@click.option("-f", "--force", is_flag=True, help="Do not ask first.")
@click.option("-Q", "--queues", type=NameList(), help="These queues. Default: those of the app.")
@click.option("-X", "--exclude-queues", type=NameList(), help="Not these.")
@click.pass_context
def purge(ctx: click.Context, force: bool, queues: list[str] | None, exclude_queues: list[str] | None) -> int:
    """Drop all messages that wait in the app's queues. There is no way to get them back."""
    app = ctx.obj.app
    chosen = queues or [queue.name for queue in app.queues.consume_from]
    names = [name for name in dict.fromkeys(chosen) if name not in (exclude_queues or ())]
    if not names:
        raise click.UsageError("no queue is left to purge.", ctx)
    try:
        broker = app.connections.broker()
        if not force:
            click.confirm(
                f"This drops all messages that wait in {', '.join(names)} at {app.broker_text()}. Go on?",
                abort=True,
                err=True,
            )
        count = broker.purge(names)
    finally:
        app.close()
    messages, where = ("message" if count == 1 else "messages"), ("queue" if len(names) == 1 else "queues")
    click.echo(f"Purged {count} {messages} from {len(names)} {where}: {', '.join(names)}")
    return 0
