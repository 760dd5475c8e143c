"""``umbel demo``."""

from __future__ import annotations

import json
import platform
import shutil
import signal
import tempfile
from pathlib import Path
from time import perf_counter
from types import FrameType
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from umbel.canvas.chord import chord
from umbel.canvas.group import group
from umbel.cli.console import console
from umbel.cli.demo.crew import Crew, crew
from umbel.cli.demo.library import ROOT, sources
from umbel.cli.demo.place import Place
from umbel.cli.demo.sheet import print_sheet
from umbel.cli.demo.tasks import app, combine, count
from umbel.cli.invocation import Invocation
from umbel.worker.cpus import cpu_count
from umbel_kernel.errors import UmbelError
from umbel_kernel.url import URL

_LOOK = 0.2
"""Seconds between two looks at the worker while results come in."""


@click.command()
@click.option("--files", type=click.IntRange(min=1), metavar="N", help="Count the first N files only.")
@click.option(
    "-c",
    "--workers",
    type=click.IntRange(min=1),
    metavar="N",
    help="Tasks that run at once. Default: one for each processor.",
)
@click.option(
    "--keep", type=click.Path(file_okay=False), metavar="DIR", help="Keep the database and the worker's log there."
)
@click.option("-b", "--broker", metavar="URL", help="Run it over this broker instead of a file.")
@click.option("--backend", "--result-backend", metavar="URL", help="Keep the results there instead of in a file.")
@click.option("--json", "as_json", is_flag=True, help="Print the totals as JSON.")
@click.pass_context
def demo(
    ctx: click.Context,
    files: int | None,
    workers: int | None,
    keep: str | None,
    broker: str | None,
    backend: str | None,
    as_json: bool,
) -> int:
    """See umbel work on real input, with no service needed.

    It starts a worker and has it count the lines, classes, functions and names of every source file in the Python
    standard library: one task for each file, and a last one that puts their results together. Messages and results
    go through a file in a temporary directory, unless --broker and --backend say otherwise.
    """
    invocation = ctx.ensure_object(Invocation)
    out = console(invocation, stderr=as_json)
    out.quiet = invocation.quiet
    directory = Path(keep or tempfile.mkdtemp(prefix="umbel-demo-")).resolve()
    directory.mkdir(parents=True, exist_ok=True)
    backend = backend or invocation.result_backend
    place = Place.make(directory, broker or invocation.broker, backend)
    slots = workers or cpu_count()
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        with place.entered():
            found, elapsed = _run(out, place, sources(files), slots, backend_is_theirs=backend is not None)
    except UmbelError as error:
        error.add_note(f"the worker's log is {place.log}")
        raise
    except (KeyboardInterrupt, SystemExit):
        _clear(directory, keep)
        out.print("\nThe demo was ended, and its worker with it.")
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
        app.close()
    if as_json:
        click.echo(json.dumps({**found, "elapsed": elapsed}, indent=2))
    else:
        print_sheet(out, found, elapsed, slots)
        _explain(out, place, kept=keep is not None)
    _clear(directory, keep)
    return 0


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _clear(directory: Path, keep: str | None) -> None:
    if keep is None:
        shutil.rmtree(directory, ignore_errors=True)


def _run(
    out: Console, place: Place, paths: list[str], slots: int, *, backend_is_theirs: bool
) -> tuple[dict[str, Any], float]:
    """Send the tasks, wait for them, and return what the last one returned with the seconds it all took.

    Args:
        backend_is_theirs: the results are in a store of the user's, where nothing is to be left.
    """
    out.print(
        Text.assemble(
            ("umbel demo", "bold green"), f"  counting the standard library of Python {platform.python_version()}"
        )
    )
    out.print(Text(f"  input    {len(paths):,} source files in {ROOT}", "dim"))
    out.print(Text(f"  broker   {URL.parse(place.broker).masked()}", "dim"))
    out.print(Text(f"  results  {URL.parse(place.backend).masked()}", "dim"))
    out.print(Text(f"  worker   {slots} {'slot' if slots == 1 else 'slots'}, log in {place.log}\n", "dim"))
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TextColumn("[dim]{task.fields[rate]:>6,.0f} tasks/s"),
        TimeElapsedColumn(),
    )
    with crew(place, slots) as running, Progress(*columns, console=out, expand=True) as progress:
        bar = progress.add_task("sending ", total=len(paths), rate=0.0)
        start = perf_counter()
        try:
            whole = chord(group(count.s(path) for path in paths), app=app).apply_async(
                kwargs={"body": combine.s()}, queue=place.queue
            )
            progress.update(bar, description="counting")
            _follow(whole.parent, running, progress, bar, start)
            progress.update(bar, description="combining")
            found: dict[str, Any] = whole.get(interval=_LOOK, on_interval=running.check)
            elapsed = perf_counter() - start
            progress.update(bar, description="done     ")
        finally:
            running.end()
            _delete_queue(place)
        if backend_is_theirs:
            whole.parent.forget()
            whole.forget()
    return found, elapsed


def _follow(results: Any, running: Crew, progress: Progress, bar: Any, start: float) -> None:
    """Move the bar as results come in."""
    arrivals = results.iter_native(interval=_LOOK, on_interval=running.check)
    for done, _ in enumerate(arrivals, 1):
        progress.update(bar, completed=done, rate=done / (perf_counter() - start))


def _delete_queue(place: Place) -> None:
    """Delete the queue, which on a broker of the user's would stay."""
    try:
        app.connections.broker().delete([place.queue])
    except UmbelError:
        # The broker is gone, and what went wrong before is on its way to the user.
        return


def _explain(out: Console, place: Place, *, kept: bool) -> None:
    out.print()
    out.print(Text.assemble(("What ran: ", "bold"), "chord(group(count.s(path) for path in files), combine.s())"))
    out.print(Text("The two tasks are in umbel/cli/demo/tasks.py; the same code runs over Redis or RabbitMQ:", "dim"))
    out.print(Text("umbel demo --broker redis://localhost:6379/0 --backend redis://localhost:6379/0", "dim"))
    if kept:
        out.print(Text(f"The database and the worker's log are in {place.directory}", "dim"))
