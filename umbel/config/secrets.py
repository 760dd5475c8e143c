"""Hiding secrets in settings before people see them.

Whatever looks like a secret is hidden: by the name it has, and within text by the shape of a URL or of a
``key=value`` pair. Where it is unclear how much of a text is secret, the larger part is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

HIDDEN = "********"

# Patterns as texts: re compiles each when it is first used, and few programs show their settings.
_NAME = (
    r"(?i)api|pass|pwd|(?:^|_)pw(?:_|$)|secret|token|credential|signature|auth|(?<!routing_)(?<!binding_)key$|key_?id"
)
_URL = r"(?s)(?P<scheme>[A-Za-z][\w+.-]*://)(?P<user>[^\s:@/?#]*)(?P<rest>.*@)"
_BETWEEN_URLS = r"(?<=[;,])(?=\s*[A-Za-z][\w+.-]*://)"
_PAIR = (
    r"(?i)(?P<name>[\w-]*(?:pass|pwd|secret|token|credential|signature|accesskey|accountkey|api_?key)[\w-]*|\bsig|\bkey)"
    r"(?P<equals>\s*=\s*)(?P<value>'[^']*'|\"[^\"]*\"|[^&;\s]+)"
)


def is_secret(name: str) -> bool:
    """Whether a setting or option of this name holds a secret."""
    return re.search(_NAME, name) is not None


def hide_in_text(text: str) -> str:
    """The text with passwords of URLs and values of secret pairs hidden."""
    if "://" in text:
        urls = re.split(_BETWEEN_URLS, text)
        if not all("@" in url for url in urls):
            urls = [text]  # a separator may be part of a password: better hide too much
        text = "".join(re.sub(_URL, _hide_password, url) for url in urls)
    return re.sub(_PAIR, lambda found: f"{found['name']}{found['equals']}{HIDDEN}", text) if "=" in text else text


def hide(name: str, value: Any) -> Any:
    """The value of a setting for people; containers are copied where something in them is hidden."""
    if value is None or isinstance(value, bool):
        return value
    if is_secret(name) and value != "" and value != b"":
        return HIDDEN
    return _hide_value(value)


def _hide_value(value: Any) -> Any:
    if isinstance(value, str):
        return hide_in_text(value)
    if isinstance(value, bytes):
        text = value.decode("latin-1")
        shown = hide_in_text(text)
        return value if shown == text else shown
    if isinstance(value, Mapping):
        return {_hide_value(key): hide(str(key), item) for key, item in value.items()}
    if type(value) in (list, tuple, set, frozenset):
        return type(value)(_hide_value(item) for item in value)
    return value


def _hide_password(found: re.Match[str]) -> str:
    rest = found["rest"]
    if rest == "@":
        return found[0]
    return f"{found['scheme']}{found['user']}:{HIDDEN}@"
