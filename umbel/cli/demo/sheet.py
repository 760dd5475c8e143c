"""What the demo prints at the end."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.columns import Columns
from rich.console import Console
from rich.table import Table
from rich.text import Text

_GAP = 4
"""Blanks between two tables."""


def print_sheet(console: Console, found: dict[str, Any], elapsed: float, slots: int) -> None:
    """Print the totals, the names and the slowest tasks.

    Args:
        found: what the demo's last task returned.
        elapsed: seconds from the first task sent to the last result.
        slots: how many tasks ran at once.
    """
    console.print()
    _print_beside(console, [_library(found), _run(found, elapsed, slots)])
    _print_beside(console, [_names(found), _slowest(found)])
    unparsed = found["unparsed"]
    if unparsed:
        path, error = unparsed[0]
        more = f", and {len(unparsed) - 1} more" if len(unparsed) > 1 else ""
        console.print(Text(f"Not valid Python, most often test data that is meant to be wrong: {path}{more}", "dim"))
        console.print(Text(f"  {error}", "dim"))


def _print_beside(console: Console, tables: list[Table]) -> None:
    """Print tables beside each other where there is room, else below each other."""
    widths = [console.measure(table).maximum for table in tables]
    if sum(widths) + _GAP * (len(tables) - 1) > console.width:
        for table in tables:
            console.print(table)
    else:
        console.print(Columns(tables, padding=(0, _GAP)))


def _library(found: dict[str, Any]) -> Table:
    values = {
        "files": f"{found['files']:,}",
        "lines": f"{found['lines']:,}",
        "classes": f"{found['classes']:,}",
        "functions": f"{found['functions']:,}",
        "names": f"{found['distinct_names']:,}",
        "not parsed": f"{len(found['unparsed']):,}",
    }
    return _row("The standard library in numbers", values)


def _run(found: dict[str, Any], elapsed: float, slots: int) -> Table:
    tasks = found["files"] + 1
    values = {
        "tasks": f"{tasks:,}",
        "seconds": f"{elapsed:.1f}",
        "tasks/s": f"{tasks / elapsed:,.0f}",
        "slots busy": f"{min(found['seconds'] / elapsed / slots, 1):.0%}",
    }
    return _row("This run", values)


def _row(title: str, values: dict[str, str]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title=title, title_style="bold", title_justify="left")
    for name in values:
        table.add_column(name, justify="right")
    table.add_row(*(Text(value, "bold green") for value in values.values()))
    return table


def _names(found: dict[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Most used names", title_style="bold", title_justify="left")
    table.add_column("name", style="cyan")
    table.add_column("times", justify="right")
    table.add_column("")
    most = max((times for _, times in found["names"]), default=1)
    for name, times in found["names"]:
        table.add_row(name, f"{times:,}", Text("█" * max(1, round(12 * times / most)), "cyan"))
    return table


def _slowest(found: dict[str, Any]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="Slowest tasks", title_style="bold", title_justify="left")
    table.add_column("file", style="magenta", overflow="fold")
    table.add_column("lines", justify="right")
    table.add_column("ms", justify="right")
    for seconds, path, lines in found["slowest"]:
        table.add_row(path, f"{lines:,}", f"{seconds * 1000:,.0f}")
    return table
