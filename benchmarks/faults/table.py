"""The figures as tables, one for each scenario: for the terminal, and as Markdown between two markers of a page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness import page
from rich.console import Console
from rich.table import Table

from faults.report import shown

WIDTH = 150
"""Columns where the output is no terminal."""
BROKERS = {"redis": "Redis", "amqp": "AMQP"}
COLUMNS = {
    "tasks": "tasks",
    "lost": "lost",
    "twice": "run twice",
    "overlapping": "overlapping",
    "recovery": "recovery s",
    "lines": "log lines/s",
    "cpu": "cores used",
}


def tables(results: dict[str, Any]) -> list[tuple[str, str, list[str], list[list[str]]]]:
    """(name, title, headings, lines) of each scenario."""
    made = []
    for name in dict.fromkeys(row["scenario"] for row in results["rows"]):
        rows = [row for row in results["rows"] if row["scenario"] == name]
        told = [row["figures"] for row in rows if row["figures"]]
        limited = {limit for row in rows for limit in row["limits"]}
        plain = [key for key in COLUMNS if key in limited or any(each[key] is not None for each in told)]
        more = list(dict.fromkeys(key for each in told for key in each["more"]))
        headings = ["broker", "contender", *(COLUMNS[key] for key in plain), *more, "promise"]
        made.append((name, rows[0]["title"], headings, [_line(row, plain, more, limited) for row in rows]))
    return made


def _line(row: dict[str, Any], plain: list[str], more: list[str], limited: set[str]) -> list[str]:
    head = [BROKERS[row["broker"]], row["contender"]]
    figures = row["figures"]
    if figures is None:
        return [*head, *[""] * (len(plain) + len(more)), "could not be done"]
    values = [shown(figures[key]) if figures[key] is not None or key in limited else "–" for key in plain]
    values += [shown(figures["more"][key]) if key in figures["more"] else "–" for key in more]
    return [*head, *values, "; ".join(row["misses"]) or ("kept" if row["limits"] else "–")]


def show(results: dict[str, Any]) -> None:
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=WIDTH)
    for name, title, headings, lines in tables(results):
        table = Table(title=f"{name}: {title}", title_justify="left", title_style="bold")
        for number, heading in enumerate(headings):
            left = number < 2 or number == len(headings) - 1
            table.add_column(heading, justify="left" if left else "right", no_wrap=number < 2)
        for line in lines:
            table.add_row(*line, style="bold" if line[1] == "umbel" else None)
        console.print(table)
    for row in results["rows"]:
        where = f"{row['scenario']}, {row['contender']} on {row['broker']}"
        for note in row["figures"]["notes"] if row["figures"] else ():
            console.print(f"{where}: {note}", markup=False)
        if row["failure"]:
            console.print(f"could not be done: {where}\n{row['failure']}", markup=False)


def markdown(results: dict[str, Any]) -> str:
    machine = results["machine"]
    about = ", ".join(f"{name} {machine[name]}" for name in ("system", "python", "load"))
    versions = ", ".join(f"{name} {value}" for name, value in results["versions"].items())
    parts = [
        f"Made on {results['date'][:10]} by `{results['command']}`. {machine['cores']} cores ({machine['processor']}), "
        f"{machine['memory']}; {about}. {versions}."
        + (" Short variants." if results["short"] else "")
        + ("" if results["complete"] else " Interrupted, so that some rows are missing.")
    ]
    for name, title, headings, lines in tables(results):
        left = (0, 1, len(headings) - 1)
        rule = ["---" if number in left else "---:" for number in range(len(headings))]
        rows = [
            headings,
            rule,
            *([f"**{cell}**" if cell and line[1] == "umbel" else cell for cell in line] for line in lines),
        ]
        parts.append(
            f"### {name}\n\n{title[0].upper()}{title[1:]}.\n\n"
            + "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
        )
        notes = _notes(results, name)
        if notes:
            parts.append("\n".join(f"- {note}" for note in notes))
    return "\n\n".join(parts)


def _notes(results: dict[str, Any], name: str) -> list[str]:
    """The notes of a scenario, each once; what is said of one row alone says of which."""
    rows = [row for row in results["rows"] if row["scenario"] == name and row["figures"]]
    where: dict[str, list[str]] = {}
    for row in rows:
        for note in row["figures"]["notes"]:
            where.setdefault(note, []).append(f"{row['contender']} on {BROKERS[row['broker']]}")
    return [note if len(of) > 1 or note.startswith(of[0][:5]) else f"{of[0]}: {note}" for note, of in where.items()]


def write(results: dict[str, Any], path: Path) -> None:
    """Put the tables into a page. Raises Failure where it has no markers."""
    page.put(markdown(results), path, "figures")
