"""A worker step that touches a file every second: the hook by which umbel finds it."""

from __future__ import annotations

from typing import Any

from umbel_kernel.hooks import hookimpl
from umbel_kernel.step import Step
from umbel_step_heartbeat_file.step import HeartbeatFile

__all__ = ["HeartbeatFile", "umbel_steps"]


@hookimpl
def umbel_steps(blueprint: str, app: Any) -> list[type[Step]] | None:
    """Called by umbel before it resolves a blueprint."""
    return [HeartbeatFile] if blueprint == "worker" else None
