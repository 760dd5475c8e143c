"""Wait for a task's outcome and print it."""

from __future__ import annotations

from typing import Any

import click

from umbel.cli.shown import shown
from umbel.model.exceptions import TimeoutError
from umbel.results.async_result import AsyncResult


def print_outcome(result: AsyncResult, wait: float, *, traceback: bool = False) -> int:
    """Print what a task returned, or on the error output how it failed. Returns the exit code.

    Args:
        wait: seconds to wait for it; 0 looks once.
        traceback: print the traceback, if there is one, instead of the result.
    """
    try:
        value: Any = result.get(timeout=wait, propagate=False, follow_parents=False)
    except TimeoutError:
        state = result.state
        known = "nothing is known of it, or it waits in a queue" if state == "PENDING" else "it has not ended"
        waited = f" after {wait:g} seconds" if wait else ""
        click.echo(f"{result.id} is {state}{waited}: {known}.", err=True)
        return 1
    if traceback:
        click.echo(
            result.traceback or f"{result.id} is {result.state} and left no traceback.", err=not result.traceback
        )
        return 0
    if result.successful():
        click.echo(shown(value))
        return 0
    click.echo(f"{result.id} is {result.state}: {type(value).__name__}: {value}", err=True)
    return 1
