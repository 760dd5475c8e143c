"""Refuse to run strangers' code as root."""

from __future__ import annotations

import os
from collections.abc import Iterable

from umbel_kernel import plugins
from umbel_kernel.errors import ConfigurationError, PluginError

ALLOW = "C_FORCE_ROOT"
"""The environment variable, Celery's, by which a user accepts the risk."""


def untrusted(accept: Iterable[str] | None) -> list[str]:
    """The accepted serializers whose reading runs what a message says, by name.

    Args:
        accept: names and content types, as in the setting ``accept_content``.
    """
    wanted = set(accept or ())
    by_type = any("/" in name for name in wanted)
    found = []
    for plugin in plugins.installed("serializers"):
        if plugin.name not in wanted and not by_type:
            continue
        try:
            kind = plugins.load("serializers", plugin.name)
        except PluginError:
            continue
        if not kind.trusted and wanted & {plugin.name, kind.content_type}:
            found.append(plugin.name)
    return sorted(set(found))


def check_privileges(accept: Iterable[str] | None) -> str:
    """Check that a superuser does not read messages that can run code. Returns a warning to print, or nothing.

    Raises:
        ConfigurationError: one would, and has not said so.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return ""
    names = ", ".join(untrusted(accept))
    if not names:
        return ""
    if not os.environ.get(ALLOW):
        raise ConfigurationError(
            f"this worker runs as root and accepts {names}: whoever can send it a message could run anything as root. "
            f"Run it as another user, take {names} out of accept_content, or set {ALLOW}=1 to accept the risk"
        )
    return (
        f"running as root and accepting {names}, because {ALLOW} is set: whoever can send a message owns this machine"
    )
