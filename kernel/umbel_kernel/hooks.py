"""Plugins of which many take part at once: pluggy, project and entry-point group ``umbel``."""

from __future__ import annotations

from typing import Any

import pluggy

from umbel_kernel.errors import PluginBroken
from umbel_kernel.plugins import HOOKS, installed
from umbel_kernel.step import Step

hookspec = pluggy.HookspecMarker("umbel")
hookimpl = pluggy.HookimplMarker("umbel")


class Hooks:
    """What a distribution may implement in the module or class that its ``umbel`` entry point names."""

    @hookspec
    def umbel_steps(self, blueprint: str, app: Any) -> list[type[Step]] | None:
        """Called before the blueprint ``worker`` or ``consumer`` is resolved. Returns more steps for it, or nothing."""

    @hookspec
    def umbel_commands(self) -> list[Any] | None:
        """Called when the command line starts. Returns more ``click.Command`` objects, or nothing."""

    @hookspec
    def umbel_configure(self, app: Any) -> None:
        """Called once an app's configuration has been read, before anything uses it."""


def manager() -> pluggy.PluginManager:
    """A manager that has every installed distribution of the group ``umbel`` registered.

    Raises:
        PluginBroken: one of them cannot be imported, or has hooks that are none.
    """
    found = pluggy.PluginManager("umbel")
    found.add_hookspecs(Hooks)
    for plugin in installed(HOOKS):
        try:
            loaded = plugin.load()
            if not found.is_registered(loaded):
                found.register(loaded, f"{plugin.distribution}:{plugin.name}")
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise PluginBroken(HOOKS, plugin.name, plugin.distribution, reason) from error
    return found
