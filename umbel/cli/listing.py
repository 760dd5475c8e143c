"""``umbel list``."""

from __future__ import annotations

import click
from rich.table import Table

from umbel.cli.app_command import AppCommand
from umbel.cli.console import console


@click.group(name="list")
def listing() -> None:
    """Show what an app declares at its broker."""


@listing.command(cls=AppCommand)
@click.pass_context
def bindings(ctx: click.Context) -> None:
    """Show the app's queues, and which exchange hands them which messages."""
    table = Table("Queue", "Exchange", "Type", "Routing key", box=None, pad_edge=False)
    for queue in ctx.obj.app.queues.values():
        for bound in queue.bindings:
            exchange = bound.exchange
            table.add_row(queue.name, exchange.name or "(default)", exchange.type, bound.routing_key)
        if not queue.bindings:
            table.add_row(queue.name, "(default)", "direct", queue.name)
    console(ctx.obj).print(table)
