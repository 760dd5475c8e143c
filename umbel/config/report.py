"""An app's settings as people read them."""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

from umbel.config.secrets import HIDDEN, hide, hide_in_text
from umbel.model.later import Later

_pprint = Later("pprint")
_WIDTH = 50


def censor(values: Mapping[str, Any], undeclared: Container[str]) -> dict[str, Any]:
    """The values with secrets hidden, in the order of the names.

    Args:
        undeclared: names of which it is not known whether their value is a secret; all of it is hidden.
    """
    return {name: HIDDEN if name in undeclared else hide(name, values[name]) for name in sorted(values)}


def lines(values: Mapping[str, Any], censored: bool) -> str:
    """The values one a line, as ``name: value``."""
    return "\n".join(f"{name}: {_text(value, censored)}" for name, value in values.items())


def _text(value: Any, censored: bool) -> str:
    if isinstance(value, str):
        return value
    text = _pprint.pformat(value, width=_WIDTH)
    # An object of somebody else's may show a URL in its repr(); plain values have been seen to before.
    return hide_in_text(text) if censored else text
