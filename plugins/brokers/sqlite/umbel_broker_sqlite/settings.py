"""What can be set of the broker."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import umbel_client_sqlite
from umbel_kernel.setting import Setting

SETTINGS = (
    Setting(
        "sqlite_synchronous",
        "str",
        "NORMAL",
        "When the broker's commits are flushed to the disk: NORMAL outlives any crash of a process and may lose the "
        "last moments in a power cut, FULL outlives that too and costs a flush a commit.",
        ("NORMAL", "FULL"),
    ),
    Setting(
        "sqlite_lease", "float", 15.0, "Seconds without a sign of life after which a consumer loses what it holds."
    ),
    Setting(
        "sqlite_poll_interval",
        "float",
        0.1,
        "Seconds between two looks of a waiting consumer that nobody rings; the most that a lost ring costs.",
    ),
    Setting(
        "sqlite_sweep_interval",
        "float",
        0.5,
        "Seconds between two looks for dead consumers, expired messages and unused queues.",
    ),
    Setting(
        "sqlite_checkpoint_pages",
        "int",
        4000,
        "Pages of 4 KiB that the write-ahead log may grow to before it is copied into the database file.",
    ),
)


def value_of(options: Mapping[str, Any], name: str) -> Any:
    """A setting's value; ``broker_transport_options`` may leave out its ``sqlite_``.

    Raises:
        ConfigurationError: it is of the wrong type, not allowed, or not above zero.
    """
    return umbel_client_sqlite.value_of(SETTINGS, "sqlite_", options, name)
