"""Patches the standard library, before anything else is imported."""

from __future__ import annotations

import eventlet


def prepare() -> None:
    """Patch all that eventlet can patch. Called first of all in a process whose worker is to have this pool."""
    eventlet.monkey_patch()
