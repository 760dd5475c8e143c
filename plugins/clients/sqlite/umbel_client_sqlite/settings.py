"""Settings of a user of a file, read and checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from umbel_kernel.errors import ConfigurationError
from umbel_kernel.setting import Setting


def value_of(settings: Sequence[Setting], prefix: str, options: Mapping[str, Any], name: str) -> Any:
    """A setting's value: one of its choices in upper case, or a number above zero.

    Args:
        settings: what can be set.
        prefix: what ``options`` may leave out of the name.
        name: in full.

    Raises:
        ConfigurationError: it is of the wrong type, not allowed, or not above zero.
    """
    setting = next(each for each in settings if each.name == name)
    value = options.get(name)
    if value is None:
        value = options.get(name.removeprefix(prefix), setting.default)
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
