"""A group of commands whose modules are imported when they are used."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click

from umbel_kernel.errors import UmbelError
from umbel_kernel.plugins import HOOKS, installed

EXTENSIONS = "umbel.cli.extensions"
"""The module that asks installed distributions; imported only where there is one to ask."""


class Entry(NamedTuple):
    """Where a command is, as ``module:attribute``, and one line about it."""

    path: str
    summary: str


class LazyGroup(click.Group):
    """A group that knows its commands by a table.

    Args:
        entries: the commands by name.
        planned: names of Celery's commands that are not there yet.
        extensible: whether installed distributions add commands, by the hook ``umbel_commands``.
    """

    def __init__(
        self,
        *args: Any,
        entries: Mapping[str, Entry],
        planned: tuple[str, ...] = (),
        extensible: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self._entries = entries
        self._planned = planned
        self._extensible = extensible
        self._added: dict[str, click.Command] | None = None

    def added(self) -> dict[str, click.Command]:
        """The commands of installed distributions, by name.

        Raises:
            PluginBroken: one of them cannot be imported.
        """
        if self._added is None:
            there = self._extensible and installed(HOOKS)
            self._added = importlib.import_module(EXTENSIONS).commands() if there else {}
        return self._added

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of all commands, our own first."""
        return [*self._entries, *(name for name in sorted(self.added()) if name not in self._entries)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """A command by name, imported now."""
        entry = self._entries.get(cmd_name)
        if entry is None:
            return self.added().get(cmd_name)
        module, _, attribute = entry.path.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the words name, or an error that says what there is."""
        name = args[0]
        if not name.startswith("-") and self.get_command(ctx, name) is None:
            if name in self._planned:
                ctx.fail(f"Celery's command {name!r} is not there yet in umbel.")
            close = difflib.get_close_matches(name, self.list_commands(ctx), n=1)
            guess = f" Did you mean {close[0]!r}?" if close else ""
            ctx.fail(f"There is no command {name!r}.{guess}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands with their summaries, without importing their modules."""
        rows = [(name, entry.summary) for name, entry in self._entries.items()]
        trouble = ""
        try:
            rows += [
                (name, command.get_short_help_str(80))
                for name, command in sorted(self.added().items())
                if name not in self._entries
            ]
        except UmbelError as error:
            trouble = str(error)
        with formatter.section("Commands"):
            formatter.write_dl(rows)
        if trouble:
            formatter.write_paragraph()
            formatter.write_text(f"Commands of installed distributions are missing here: {trouble}")
