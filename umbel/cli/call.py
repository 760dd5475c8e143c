"""``umbel call``."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import click

from umbel.cli.app_command import AppCommand
from umbel.cli.outcome import print_outcome


class Json(click.ParamType):  # type: ignore[type-arg]
    """JSON of one kind.

    Args:
        kind: what it must be, ``list`` or ``dict``.
        example: one, for messages.
    """

    name = "json"

    def __init__(self, kind: type[Any], example: str) -> None:
        self._kind = kind
        self._example = example

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value."""
        if isinstance(value, self._kind):
            return value
        try:
            found = json.loads(value)
        except ValueError as error:
            self.fail(f"{value!r} is no JSON ({error}); write it as in {self._example}", param, ctx)
        if not isinstance(found, self._kind):
            self.fail(f"{value!r} is JSON of another kind; write it as in {self._example}", param, ctx)
        return found


class Moment(click.ParamType):  # type: ignore[type-arg]
    """A point in time in ISO 8601.

    Args:
        seconds: whether a number of seconds from now is good too.
    """

    name = "time"

    def __init__(self, *, seconds: bool = False) -> None:
        self._seconds = seconds

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The point in time, or the seconds."""
        if not isinstance(value, str):
            return value
        try:
            return datetime.fromisoformat(value)
        except ValueError:
            pass
        if self._seconds:
            try:
                return float(value)
            except ValueError:
                pass
        more = " or a number of seconds" if self._seconds else ""
        self.fail(f"{value!r} is no time; write it as in 2030-01-31T12:00:00+00:00{more}", param, ctx)


@click.command(cls=AppCommand, without="broker")
@click.argument("name")
@click.option("-a", "--args", "arguments", type=Json(list, "'[1, 2]'"), help="Positional arguments, as a JSON list.")
@click.option(
    "-k", "--kwargs", "keywords", type=Json(dict, "'{\"x\": 1}'"), help="Keyword arguments, as a JSON object."
)
@click.option("--eta", type=Moment(), metavar="TIME", help="Run it at this time, ISO 8601.")
@click.option("--countdown", type=float, metavar="SECONDS", help="Run it in so many seconds.")
@click.option("--expires", type=Moment(seconds=True), metavar="TIME|SECONDS", help="Do not run it after this.")
@click.option("--serializer", metavar="NAME", help="How to write the message.")
@click.option("--queue", metavar="NAME", help="The queue to send it to.")
@click.option("--exchange", metavar="NAME", help="The exchange to send it to.")
@click.option("--routing-key", metavar="KEY", help="The routing key to send it with.")
@click.option(
    "--wait", type=click.FloatRange(min=0), metavar="SECONDS", help="Wait so long for the result and print it too."
)
@click.pass_context
def call(
    ctx: click.Context,
    /,
    name: str,
    arguments: list[Any] | None,
    keywords: dict[str, Any] | None,
    wait: float | None,
    **options: Any,
) -> int:
    """Call a task by its name and print its id.

    \b
    umbel -A proj call proj.add -a '[2, 3]'
    umbel -A proj call proj.add -k '{"x": 2, "y": 3}' --wait 10
    """
    if options["eta"] is not None and options["countdown"] is not None:
        raise click.UsageError("--eta and --countdown say the same thing; give one of them.", ctx)
    given = {option: value for option, value in options.items() if value is not None}
    app = ctx.obj.app
    try:
        result = app.send_task(name, arguments or (), keywords or {}, **given)
        click.echo(result.id)
        return print_outcome(result, wait) if wait is not None else 0
    finally:
        app.close()
