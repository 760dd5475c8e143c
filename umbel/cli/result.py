"""``umbel result``."""

from __future__ import annotations

import click

from umbel.cli.app_command import AppCommand
from umbel.cli.outcome import print_outcome


@click.command(cls=AppCommand, without="broker")
@click.argument("task_id")
@click.option("-t", "--task", metavar="NAME", help="The task's name; accepted for Celery's command lines.")
@click.option("--traceback", is_flag=True, help="Print the traceback of a task that failed.")
@click.option("--wait", type=click.FloatRange(min=0), default=0, metavar="SECONDS", help="Wait so long for it.")
@click.pass_context
def result(ctx: click.Context, task_id: str, task: str | None, traceback: bool, wait: float) -> int:
    """Show what a task returned. The exit code is 1 when it failed or has not ended."""
    app = ctx.obj.app
    try:
        return print_outcome(app.AsyncResult(task_id), wait, traceback=traceback)
    finally:
        app.close()
