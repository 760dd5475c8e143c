"""The version of umbel."""

from __future__ import annotations

from umbel.model.installed import distributions, normal, path

VERSION = next((found.version for found in distributions(path()) if normal(found.name) == "umbel"), "")
"""As it is installed; empty where it is not."""
