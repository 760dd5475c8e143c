"""The entry point ``umbel``: global options, the table of commands, and what becomes of an error."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from umbel.cli.group import Entry, LazyGroup
from umbel.cli.invocation import Invocation
from umbel_kernel.errors import UmbelError

COMMANDS = {
    "worker": Entry("umbel.cli.worker:worker", "Start a worker that runs an app's tasks."),
    "call": Entry("umbel.cli.call:call", "Call a task by its name and print its id."),
    "result": Entry("umbel.cli.result:result", "Show what a task returned."),
    "purge": Entry("umbel.cli.purge:purge", "Drop all messages that wait in the app's queues."),
    "list": Entry("umbel.cli.listing:listing", "Show what an app declares at its broker."),
    "graph": Entry("umbel.cli.graph:graph", "Draw how the parts of a worker depend on each other."),
    "report": Entry("umbel.cli.report:report", "Show versions and settings, for a bug report."),
    "plugins": Entry("umbel.cli.plugins:plugins", "Show the installed plugins and what they can do."),
    "demo": Entry("umbel.cli.demo.command:demo", "See umbel work on real input, with no service needed."),
}
PLANNED = (
    "amqp", "beat", "control", "events", "inspect", "logtool", "migrate", "multi", "shell", "status", "upgrade",
)  # fmt: skip


@click.group(
    cls=LazyGroup,
    entries=COMMANDS,
    planned=PLANNED,
    extensible=True,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.option("-A", "--app", "app_path", metavar="MODULE[:NAME]", help="The app, as in 'proj' or 'proj.tasks:app'.")
@click.option("-b", "--broker", metavar="URL", help="URL of the broker, instead of the app's own.")
@click.option("--result-backend", metavar="URL", help="URL of the result backend, instead of the app's own.")
@click.option("--config", metavar="MODULE", help="Name of the config module, for an app that names none.")
@click.option("--workdir", metavar="DIR", help="Change to this directory first.")
@click.option("--loader", metavar="NAME", help="Accepted for Celery's command lines; it changes nothing.")
@click.option("-C", "--no-color", is_flag=True, help="No colours.")
@click.option("-q", "--quiet", is_flag=True, help="Print no more than was asked for.")
@click.option("--traceback", is_flag=True, help="Show the traceback of an error; so does UMBEL_DEBUG=1.")
@click.version_option(package_name="umbel", prog_name="umbel", message="%(prog)s %(version)s")
@click.pass_context
def umbel(ctx: click.Context, /, traceback: bool, **given: Any) -> None:
    """A distributed task queue with Celery's command line.

    \b
    umbel demo                       see it work, with no service needed
    umbel -A proj worker -l INFO     run the tasks of proj.app
    umbel COMMAND --help             what a command takes
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())
        ctx.exit()
    invocation: Invocation = ctx.obj
    for name, value in given.items():
        if value:
            setattr(invocation, name, value)
    invocation.no_color = invocation.no_color or bool(os.environ.get("NO_COLOR"))
    if not invocation.names_app:
        invocation.app_path = os.environ.get("UMBEL_APP") or os.environ.get("CELERY_APP")
    if invocation.no_color:
        ctx.color = False


def main(argv: Sequence[str] | None = None, app: Any = None) -> int:
    """Run the command line.

    Args:
        argv: the words after the program's name; None takes this process's own.
        app: an app to work with when none is named.

    Returns:
        The exit code: 0 when all went well, 1 for an error, 2 for a command line that is wrong.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        code = umbel.main(
            words, prog_name="umbel", standalone_mode=False, obj=Invocation(app=app, is_program=argv is None)
        )
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        click.echo("Aborted.", err=True)
        return 130
    except BrokenPipeError:
        # Whoever read the output has gone, such as `head`. What is still buffered must not be written at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except UmbelError as error:
        _tell(error, words)
        return 1
    return code if isinstance(code, int) else 0


def _tell(error: UmbelError, words: Sequence[str]) -> None:
    """Say what went wrong, with what the parts that it passed through have noted."""
    if "--traceback" in words or os.environ.get("UMBEL_DEBUG"):
        traceback.print_exception(error)
        return
    click.echo(f"{click.style('Error:', fg='red', bold=True)} {error}", err=True)
    for note in getattr(error, "__notes__", ()):
        click.echo(f"  ({note})", err=True)
