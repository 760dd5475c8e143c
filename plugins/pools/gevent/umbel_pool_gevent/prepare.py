"""Patches the standard library, before anything else is imported."""

from __future__ import annotations

from gevent import monkey


def prepare() -> None:
    """Patch all that gevent can patch. Called first of all in a process whose worker is to have this pool."""
    monkey.patch_all()
