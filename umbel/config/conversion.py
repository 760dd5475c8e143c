"""Turning what a configuration says into a value of the setting's type, or saying why that cannot be.

The type of a setting is one of the names below, or several with ``|`` between, tried from left to right: first for a
value that is of the type already, then for one that can be converted. ``None`` is allowed where it is the default.

=========== ======================================================= ==========================================
name        is                                                      is converted from
=========== ======================================================= ==========================================
bool        bool                                                    0, 1, "true", "no", "on", …
int         int                                                     "5", 5.0
float       float                                                   5, "2.5", "inf", a timedelta (as seconds)
str         str                                                     a path object
bytes       bytes                                                   -
list        list, tuple                                             a set, "a,b", a JSON array
dict        any mapping                                             a JSON object
class       a class                                                 -
callable    anything that can be called                             -
tzinfo      datetime.tzinfo                                         -
none        None                                                    "none", "null", ""
any         anything                                                -
'word'      that very string                                        -
=========== ======================================================= ==========================================
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta, tzinfo
from typing import Any

from umbel.model.later import Later
from umbel_kernel.setting import Setting

json = Later("json")

TRUE = frozenset({"true", "yes", "on", "1", "t", "y"})
FALSE = frozenset({"false", "no", "off", "0", "f", "n"})
_NONE = frozenset({"none", "null", ""})

_SAID = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "str": "a string",
    "bytes": "bytes",
    "list": "a list",
    "dict": "a dict",
    "class": "a class",
    "callable": "a function",
    "tzinfo": "a tzinfo object",
    "none": "None",
}


class Unfit(Exception):
    """A value does not fit its type; the message says what would."""


def convert(setting: Setting, value: Any) -> Any:
    """The value as the setting's type.

    Raises:
        Unfit: it is not of that type, cannot be converted to it, or is not among the choices.
        ValueError: the setting's type is one that does not exist.
    """
    if value is None and setting.default is None:
        return None
    kinds = kinds_of(setting.type)
    of_type = False
    for candidate in _candidates(kinds, value):
        of_type = True
        if not setting.choices or candidate in setting.choices:
            return candidate
    if of_type or setting.choices:
        raise Unfit(f"one of {', '.join(map(repr, setting.choices))}")
    raise Unfit(allowed(setting))


def allowed(setting: Setting) -> str:
    """What a setting takes, in words."""
    if setting.choices:
        return f"one of {', '.join(map(repr, setting.choices))}"
    kinds = list(kinds_of(setting.type))
    if setting.default is None and "none" not in kinds:
        kinds.append("none")
    words = [_SAID.get(kind, kind) for kind in kinds]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


@functools.cache
def kinds_of(type_: str) -> tuple[str, ...]:
    """The names in a type.

    Raises:
        ValueError: one of them is unknown.
    """
    kinds = tuple(kind.strip() for kind in type_.split("|"))
    for kind in kinds:
        if kind != "any" and kind not in _SAID and not (len(kind) > 2 and kind[0] == kind[-1] == "'"):
            raise ValueError(f"{kind!r} is not the name of a type of settings; there are: any, {', '.join(_SAID)}")
    return kinds


def _candidates(kinds: tuple[str, ...], value: Any) -> Iterator[Any]:
    for kind in kinds:
        if kind == "any" or (isinstance(value, str) and kind == f"'{value}'") or (kind in _IS and _IS[kind](value)):
            yield value
    for kind in kinds:
        if kind in _FROM:
            try:
                yield _FROM[kind](value)
            except (ValueError, OverflowError, RecursionError):
                continue


_IS: Mapping[str, Callable[[Any], bool]] = {
    "bool": lambda value: isinstance(value, bool),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    # Not a number is the one float that does not equal itself.
    "float": lambda value: isinstance(value, float) and value == value,
    "str": lambda value: isinstance(value, str),
    "bytes": lambda value: isinstance(value, bytes),
    "list": lambda value: isinstance(value, (list, tuple)),
    "dict": lambda value: isinstance(value, Mapping),
    "class": lambda value: isinstance(value, type),
    "callable": callable,
    "tzinfo": lambda value: isinstance(value, tzinfo),
    "none": lambda value: value is None,
}


def _to_bool(value: Any) -> bool:
    if isinstance(value, str):
        word = value.strip().lower()
        if word in TRUE or word in FALSE:
            return word in TRUE
    elif isinstance(value, int) and value in (0, 1):
        return bool(value)
    raise ValueError


def _to_int(value: Any) -> int:
    if isinstance(value, str):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    raise ValueError


def _to_float(value: Any) -> float:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, str):
        number = float(value)
        if not math.isnan(number):
            return number
    elif isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    raise ValueError


def _to_str(value: Any) -> str:
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    raise ValueError


def _to_list(value: Any) -> list[Any] | tuple[Any, ...]:
    if isinstance(value, (set, frozenset)):
        return tuple(sorted(value, key=repr))
    if isinstance(value, str):
        if value.lstrip().startswith("["):
            items = json.loads(value)
            return list(items)
        return [item.strip() for item in value.split(",") if item.strip()]
    raise ValueError


def _to_dict(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        found = json.loads(value)
        if isinstance(found, dict):
            return found
    raise ValueError


def _to_none(value: Any) -> None:
    if isinstance(value, str) and value.strip().lower() in _NONE:
        return None
    raise ValueError


_FROM: Mapping[str, Callable[[Any], Any]] = {
    "bool": _to_bool,
    "int": _to_int,
    "float": _to_float,
    "str": _to_str,
    "list": _to_list,
    "dict": _to_dict,
    "none": _to_none,
}
