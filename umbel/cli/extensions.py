"""Commands that installed distributions add, by the hook ``umbel_commands``."""

from __future__ import annotations

import click

from umbel_kernel import hooks
from umbel_kernel.errors import PluginBroken


def commands() -> dict[str, click.Command]:
    """The added commands by name.

    Raises:
        PluginBroken: a distribution cannot be imported, or returns something else than commands.
    """
    found: dict[str, click.Command] = {}
    for group in hooks.manager().hook.umbel_commands():
        for command in group or ():
            if not isinstance(command, click.Command) or not command.name:
                raise PluginBroken(
                    "umbel", "umbel_commands", "an installed distribution", f"{command!r:.80} is no click.Command"
                )
            found[command.name] = command
    return found
