"""What can be set of the backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import umbel_client_sqlite
from umbel_kernel.setting import Setting

SETTINGS = (
    Setting(
        "sqlite_backend_synchronous",
        "str",
        "NORMAL",
        "When results are flushed to the disk: NORMAL outlives any crash of a process and may lose the last moments "
        "in a power cut, FULL outlives that too and costs a flush a commit.",
        ("NORMAL", "FULL"),
    ),
    Setting(
        "sqlite_backend_poll_interval",
        "float",
        0.1,
        "Seconds between two looks of a waiting reader that nobody rings; the most that a lost ring costs.",
    ),
    Setting(
        "sqlite_backend_cleanup_interval",
        "float",
        60.0,
        "Seconds between two times that a process that stores also drops up to 1,000 expired results.",
    ),
    Setting(
        "sqlite_backend_checkpoint_pages",
        "int",
        4000,
        "Pages of 4 KiB that the write-ahead log may grow to before it is copied into the database file.",
    ),
)


def value_of(options: Mapping[str, Any], name: str) -> Any:
    """A setting's value; ``result_backend_transport_options`` may leave out its ``sqlite_backend_``.

    Raises:
        ConfigurationError: it is of the wrong type, not allowed, or not above zero.
    """
    return umbel_client_sqlite.value_of(SETTINGS, "sqlite_backend_", options, name)
