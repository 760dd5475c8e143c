"""True and false, as a URL or a setting says them."""

from __future__ import annotations

from umbel_kernel.errors import ConfigurationError

_TRUTHS = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}


def truth(name: str, value: object) -> bool:
    """A value that is true or false, also as text.

    Raises:
        ConfigurationError: it is neither.
    """
    found = _TRUTHS.get(value.lower()) if isinstance(value, str) else bool(value)
    if found is None:
        raise ConfigurationError(f"{name} is {value!r}; it has to be true or false")
    return found
