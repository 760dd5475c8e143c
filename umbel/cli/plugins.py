"""``umbel plugins``."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from umbel.cli.console import console
from umbel.cli.invocation import Invocation
from umbel_kernel import plugins as installed_plugins
from umbel_kernel.errors import PluginError


@dataclass
class Row:
    """One plugin as it is shown; ``broken`` says why it cannot be used."""

    kind: str
    name: str
    distribution: str
    version: str
    capabilities: list[str] = field(default_factory=list)
    broken: str | None = None


@click.command()
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def plugins(ctx: click.Context, as_json: bool) -> int:
    """Show the installed plugins and what they can do.

    Each is loaded. One that cannot be is shown with the reason, and the exit code is 1.
    """
    rows = [*(row for kind in installed_plugins.KINDS for row in _of_kind(kind)), *_hooks()]
    broken = [row for row in rows if row.broken]
    if as_json:
        click.echo(json.dumps([asdict(row) for row in rows], indent=2))
        return 1 if broken else 0
    table = Table("Kind", "Name", "Distribution", "Version", "Can do", box=None, pad_edge=False, header_style="bold")
    before = ""
    for row in rows:
        if before and row.kind != before:
            table.add_row()
        said = Text(f"BROKEN: {row.broken}", "red") if row.broken else Text(", ".join(row.capabilities), "dim")
        kind = row.kind if row.kind != before else ""
        table.add_row(Text(kind, "cyan"), Text(row.name, "bold"), row.distribution, row.version, said)
        before = row.kind
    console(ctx.ensure_object(Invocation)).print(table)
    return 1 if broken else 0


def _of_kind(kind: str) -> list[Row]:
    rows = []
    for plugin in installed_plugins.installed(kind):
        row = Row(kind, plugin.name, plugin.distribution, plugin.version)
        try:
            row.capabilities = capabilities(installed_plugins.load(kind, plugin.name))
        except PluginError as error:
            row.broken = str(error)
        rows.append(row)
    return rows


def capabilities(kind: Any) -> list[str]:
    """What a plugin's class says of itself."""
    found = sorted(str(one) for one in getattr(kind, "capabilities", ()))
    content_type = getattr(kind, "content_type", None)
    if content_type:
        found.append(str(content_type))
    if getattr(kind, "trusted", True) is False:
        found.append("not trusted: read only when accept_content names it")
    return found


def _hooks() -> list[Row]:
    """The distributions that add steps, commands or configuration."""
    rows = []
    for plugin in installed_plugins.installed(installed_plugins.HOOKS):
        row = Row(installed_plugins.HOOKS, plugin.name, plugin.distribution, plugin.version)
        try:
            found = plugin.load()
            row.capabilities = sorted(name for name in dir(found) if name.startswith("umbel_"))
        except Exception as error:
            row.broken = f"{type(error).__name__}: {error}"
        rows.append(row)
    return rows
