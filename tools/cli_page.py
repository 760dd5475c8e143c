"""Write docs/cli.md from the help texts of the commands: ``python tools/cli_page.py``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from umbel.cli.main import umbel

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"
HEAD = """# The command line

`umbel` and `python -m umbel` are the same. The global options stand before a command, as in `umbel -A proj worker`.
`-A`, `-b`, `--result-backend`, `--config`, `--workdir`, `-C` and `-q` may also stand after it. Instead of `-A` the
environment may have `UMBEL_APP` or `CELERY_APP`, and `NO_COLOR` is heeded.

The exit code is 0 when all went well, 1 for an error, 2 for a command line that is wrong, and 130 after Ctrl-C.
An error is one message on the error output; `--traceback` or `UMBEL_DEBUG=1` shows where it came from.

Options and commands of Celery that are not there yet are refused by name, never passed over.

An installed distribution adds commands by the hook `umbel_commands` of the entry-point group `umbel`.

This page is made from the help texts by `python tools/cli_page.py`.
"""


def commands(group: click.Group, ctx: click.Context, words: str) -> Iterator[tuple[str, click.Command, click.Context]]:
    """A group and all below it, with the words that call each."""
    yield words, group, ctx
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None, name
        below = click.Context(command, parent=ctx, info_name=name)
        if isinstance(command, click.Group):
            yield from commands(command, below, f"{words} {name}")
        else:
            yield f"{words} {name}", command, below


def page() -> str:
    """The page's text."""
    root = click.Context(
        umbel, info_name="umbel", max_content_width=100, terminal_width=100, help_option_names=["-h", "--help"]
    )
    parts = [HEAD]
    for words, command, ctx in commands(umbel, root, "umbel"):
        parts.append(f"## {words}\n\n```text\n{command.get_help(ctx).rstrip()}\n```\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), "utf-8")
