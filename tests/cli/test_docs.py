"""The page on the command line tells of every command and every option."""

from __future__ import annotations

from pathlib import Path

import click

from umbel.cli.main import COMMANDS, umbel

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def commands(group: click.Group, ctx: click.Context, words: str) -> dict[str, click.Command]:
    found: dict[str, click.Command] = {}
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        found[f"{words} {name}"] = command
        if isinstance(command, click.Group):
            found.update(commands(command, click.Context(command, parent=ctx, info_name=name), f"{words} {name}"))
    return found


def test_the_page_has_every_command_with_its_options() -> None:
    sections = {part.partition("\n")[0]: part for part in PAGE.read_text("utf-8").split("\n## ")[1:]}
    found = {"umbel": umbel, **commands(umbel, click.Context(umbel, info_name="umbel"), "umbel")}
    assert {name.split()[1] for name in found if " " in name} >= set(COMMANDS)
    missing = [
        f"{name} {option}"
        for name, command in found.items()
        for parameter in command.params
        if isinstance(parameter, click.Option) and not parameter.hidden
        for option in parameter.opts
        if option not in sections.get(name, "")
    ]
    assert missing == [], "write the page anew: python tools/cli_page.py"
