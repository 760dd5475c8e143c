"""The results as tables: for the terminal, and as Markdown."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from harness.report import COLUMNS, RATIOS

TITLES = {
    "drain": "Drain of no-op tasks, results ignored",
    "enqueue": "Enqueue from one process",
    "roundtrip": "Round trip with result on an idle worker",
    "footprint": "Footprint",
    "async": "Coroutines that each sleep for 100 ms, 1,000 at once, results ignored",
    "canvas": "Workflows with their results, and many tasks at once",
}
WIDTH = 140
"""Columns where the output is no terminal."""
BROKER_NAMES = {"redis": "Redis", "amqp": "AMQP", "sqlite": "SQLite"}


def tables(results: dict[str, Any]) -> list[tuple[str, list[str], list[list[str]]]]:
    """(title, headings, lines) of each table: one for each measurement on each broker."""
    made = []
    for measure, columns in COLUMNS.items():
        for broker, broker_name in BROKER_NAMES.items():
            rows = [row for row in results["rows"] if row["measure"] == measure and row["broker"] == broker]
            if not rows:
                continue
            headings = ["contender", "set-up", *columns.values(), *RATIOS[measure].values(), "beside"]
            lines = [_line(row, columns, RATIOS[measure]) for row in _sorted(rows, measure)]
            made.append((f"{TITLES[measure]}: {broker_name}", headings, lines))
    return made


def _sorted(rows: list[dict[str, Any]], measure: str) -> list[dict[str, Any]]:
    """The best first; what failed last."""
    key, sign = {
        "drain": ("rate", -1),
        "enqueue": ("rate", -1),
        "roundtrip": ("p50", 1),
        "footprint": ("pss", 1),
        "canvas": ("group", 1),
        "async": ("seconds", 1),
    }[measure]
    return sorted(rows, key=lambda row: (not row["median"], sign * row["median"].get(key, 0.0)))


def _line(row: dict[str, Any], columns: dict[str, str], ratios: dict[str, str]) -> list[str]:
    values = [_number(row["median"].get(name)) for name in columns]
    if row["failure"] and not row["median"]:
        values = ["failed", *[""] * (len(columns) - 1)]
    compared = [_ratio(row["ratios"].get(name)) for name in ratios]
    return [row["contender"], row["setup"], *values, *compared, row["beside"] if row["ratios"] else ""]


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _ratio(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}x" if value >= 10 else f"{value:.2f}x"


def show(results: dict[str, Any]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    for title, headings, lines in tables(results):
        table = Table(title=title, title_justify="left", title_style="bold")
        for number, heading in enumerate(headings):
            left = number < 2 or number == len(headings) - 1
            table.add_column(heading, justify="left" if left else "right", no_wrap=True)
        for line in lines:
            table.add_row(*line, style="bold" if line[0] == "umbel" else None)
        console.print(table)
    for row in results["rows"]:
        if row["failure"]:
            where = f"{row['measure']} {row['contender']} {row['setup']} on {row['broker']}"
            console.print(f"failed: {where}\n{row['failure']}", markup=False)


def markdown(results: dict[str, Any]) -> str:
    parts = []
    for title, headings, lines in tables(results):
        rule = ["---" if number < 2 or number == len(headings) - 1 else "---:" for number in range(len(headings))]
        body = [["**" + cell + "**" if cell and line[0] == "umbel" else cell for cell in line] for line in lines]
        rows = "\n".join("| " + " | ".join(cells) + " |" for cells in (headings, rule, *body))
        parts.append(f"### {title}\n\n{rows}")
    return "\n\n".join(parts)
