"""Settings given on the command line: ``worker.prefetch_multiplier=3``, ``broker_pool_limit=5``, ``.concurrency=4``."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from umbel.config.conversion import TRUE
from umbel.config.errors import SettingError
from umbel.model.later import Later

json = Later("json")

ORIGIN = "the command line"

_CAST = re.compile(r"\((\w+)\)")
_CASTS: Mapping[str, Callable[[str], Any]] = {
    "string": str,
    "str": str,
    "int": int,
    "float": float,
    "bool": lambda text: text.strip().lower() in TRUE,
    "any": str,
    "json": lambda text: json.loads(text),
    "tuple": lambda text: json.loads(text),
    "list": lambda text: json.loads(text),
    "dict": lambda text: json.loads(text),
}


def parse(argv: Iterable[str], namespace: str | None = None) -> dict[str, Any]:
    """Read ``name=value`` words; the values are text unless they begin with a type, as in ``(json){"a": 1}``.

    Args:
        argv: the words.
        namespace: the group of a name that begins with a dot or underscore, such as ``worker``.

    Raises:
        SettingError: a word has no ``=``, no name, or a value that is not of the type it begins with.
    """
    found: dict[str, Any] = {}
    for word in argv:
        key, equals, text = word.partition("=")
        name = key.strip().lower().replace(".", "_")
        if not equals or not name.strip("_"):
            raise SettingError(key, f"{word!r} on the command line is not of the form name=value", source=ORIGIN)
        if name.startswith("_"):
            bare = name.lstrip("_")
            name = f"{namespace.lower()}_{bare}" if namespace and namespace.lower() != "celery" else bare
        found[name] = _value(name, text)
    return found


def _value(name: str, text: str) -> Any:
    cast = _CAST.match(text)
    if cast is None or cast[1] not in _CASTS:
        return text
    try:
        return _CASTS[cast[1]](text[cast.end() :])
    except ValueError as error:
        raise SettingError(
            name,
            f"setting {name!r} is marked as {cast[1]} on the command line and is not: {type(error).__name__}",
            source=ORIGIN,
        ) from error
