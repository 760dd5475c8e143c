"""What can be set of the backend."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from umbel_kernel.errors import ConfigurationError
from umbel_kernel.setting import Setting

_PREFIX = "sqlite_backend_"

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
    setting = next(each for each in SETTINGS if each.name == name)
    value = options.get(name)
    if value is None:
        value = options.get(name.removeprefix(_PREFIX), setting.default)
    if setting.type == "str":
        value = str(value).upper()
        if value not in setting.choices:
            raise ConfigurationError(f"{name} is {value!r}; allowed are {', '.join(setting.choices)}")
        return value
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if not 0 < number < float("inf"):
        raise ConfigurationError(f"{name} is {value!r}; it has to be a number above 0")
    return int(number) if setting.type == "int" else number
