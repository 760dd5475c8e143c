"""What installed distributions have to say about every app's configuration."""

from __future__ import annotations

from typing import Any

from umbel.model.later import Later
from umbel_kernel import plugins

_hooks = Later("umbel_kernel.hooks")


def configure(app: Any) -> None:
    """Call ``umbel_configure`` of those that implement it. Where none takes part, pluggy is not imported.

    Raises:
        PluginBroken: one of them cannot be imported.
    """
    if plugins.installed(plugins.HOOKS):
        _hooks.manager().hook.umbel_configure(app=app)
