"""The environment variables that stand above every configuration: each may begin with UMBEL_ or CELERY_."""

from __future__ import annotations

from collections.abc import Mapping

PREFIXES = ("UMBEL_", "CELERY_")
"""The first that is set and not empty counts."""

NAMES = ("broker_url", "broker_read_url", "broker_write_url", "result_backend")
"""The settings that have a variable."""

CONFIG_MODULE = "CONFIG_MODULE"
"""Names the module to read where an app names none."""


def variable(environ: Mapping[str, str], name: str) -> str:
    """The value of a variable, under the first of the prefixes that has one; empty when it is not set."""
    return next((value for prefix in PREFIXES if (value := environ.get(prefix + name.upper()))), "")
