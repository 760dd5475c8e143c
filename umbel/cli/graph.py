"""``umbel graph``."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import click

from umbel.cli.app_command import AppCommand
from umbel.worker.options import WorkerOptions
from umbel.worker.worker import Worker
from umbel_kernel.graph import Graph
from umbel_kernel.step import Context

FORMS: dict[str, Callable[[Graph, str], str]] = {
    "dot": lambda found, title: found.to_dot(title),
    "mermaid": lambda found, title: found.to_mermaid(),
    "json": lambda found, title: found.to_json(),
}
"""What draws a graph, by the name of the language."""

_APART = frozenset({"json"})
"""Languages in which the two blueprints are kept apart, for programs; in the others they are one drawing."""


@click.group()
def graph() -> None:
    """Draw how the parts of a worker depend on each other."""


@graph.command(cls=AppCommand, kind="worker")
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMS)),
    default="dot",
    show_default=True,
    help="Graphviz, Mermaid or JSON.",
)
@click.option(
    "--blueprint",
    type=click.Choice(["worker", "consumer", "both"]),
    default="both",
    show_default=True,
    help="What to draw.",
)
@click.pass_context
def bootsteps(ctx: click.Context, form: str, blueprint: str) -> None:
    """Draw the steps of the worker and its consumer as they resolve for this app.

    Steps that the app or an installed distribution added are in it. An arrow points from a step to what it needs.

    \b
    umbel -A proj graph bootsteps | dot -Tsvg > steps.svg
    """
    app = ctx.obj.app
    app.import_default_modules()
    graphs = resolved(Worker(app, WorkerOptions(extra=ctx.meta.get("umbel.extra", {}))))
    draw = FORMS[form]
    if blueprint in graphs:
        click.echo(draw(graphs[blueprint], blueprint))
    elif form in _APART:
        click.echo(json.dumps({name: json.loads(draw(found, name)) for name, found in graphs.items()}, indent=2))
    else:
        click.echo(draw(_together(graphs), "worker and consumer"))


def resolved(worker: Worker) -> dict[str, Graph]:
    """The graphs of both blueprints of a worker, which is not started.

    What the consumer's steps need of the worker's is there when the worker runs; here its names stand for it.
    """
    outer = worker.blueprint.graph(worker.context)
    provided: dict[str, Any] = {
        thing: None for name in outer.order() for thing in worker.blueprint.steps[name].provides
    }
    return {"worker": outer, "consumer": worker.consumer_blueprint.graph(Context(worker.context, **provided))}


def _together(graphs: dict[str, Graph]) -> Graph:
    """Both graphs as one: the consumer's steps start when all of the worker's have."""
    worker, consumer = graphs["worker"], graphs["consumer"]
    last = [name for name in worker.needs if not any(name in of for of in worker.needs.values())]
    needs = {f"worker: {name}": [f"worker: {need}" for need in of] for name, of in worker.needs.items()}
    for name, of in consumer.needs.items():
        needs[f"consumer: {name}"] = [f"consumer: {need}" for need in of] or [f"worker: {end}" for end in last]
    return Graph(needs)
