"""A module that workers import and clients do not."""

from __future__ import annotations


class Unheard(Exception):
    """An error that the client does not know."""
