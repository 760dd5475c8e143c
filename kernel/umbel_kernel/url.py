"""URLs of brokers and stores, whose secrets never reach a message or a log."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from umbel_kernel.errors import ConfigurationError

MASK = "**"
_SECRET = re.compile(r"(?i)pass|secret|token|key$|credential")
_IN_TEXT = re.compile(r"(?P<head>[A-Za-z][\w+.-]*://[^\s:/@]*):(?P<secret>[^\s/]*)@")


@dataclass(frozen=True, slots=True)
class URL:
    """A parsed URL. ``str()`` and ``repr()`` mask the password and secret query values.

    Attributes:
        scheme: lower case, such as ``redis`` or ``kombu+filesystem``.
        path: everything after the authority with its leading slash, percent-decoded.
        query: the query's last value for each name.
        raw: the URL as it was given, secrets included; for the client library only.
    """

    scheme: str
    host: str | None = None
    port: int | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    path: str = ""
    query: dict[str, str] = field(default_factory=dict, repr=False)
    raw: str = field(default="", repr=False, compare=False)

    @classmethod
    def parse(cls, text: str) -> URL:
        """Read a URL; a bare word such as ``rpc`` or ``memory`` is a scheme.

        Raises:
            ConfigurationError: it is no URL; the message shows it masked.
        """
        if not isinstance(text, str) or not text.strip():
            raise ConfigurationError(f"a URL is a non-empty string such as 'redis://localhost:6379/0', not {text!r}")
        text = text.strip()
        if "://" not in text:
            if re.fullmatch(r"[A-Za-z][\w+.-]*", text):
                return cls(scheme=text.lower(), raw=f"{text}://")
            raise ConfigurationError(f"{mask(text)!r} is not a URL: it has no scheme, as in 'redis://localhost:6379/0'")
        scheme, _, rest = text.partition("://")
        try:
            parts = urlsplit("umbel://" + rest)
            port = parts.port
        except ValueError as error:
            raise ConfigurationError(
                f"{mask(text)!r} is not a URL: {mask(str(error))}; percent-encode special characters in a password"
            ) from None
        return cls(
            scheme=scheme.lower(),
            host=unquote(parts.hostname) if parts.hostname else None,
            port=port,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password is not None else None,
            path=unquote(parts.path),
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            raw=text,
        )

    def masked(self) -> str:
        """The URL for people: the password and secret query values as ``**``."""
        who = quote(self.username, safe="") if self.username else ""
        if self.password is not None:
            who += f":{MASK}"
        host = self.host or ""
        if ":" in host:
            host = f"[{host}]"
        where = f"{who}@{host}" if who else host
        if self.port is not None:
            where += f":{self.port}"
        shown = "&".join(f"{k}={MASK if _SECRET.search(k) else v}" for k, v in self.query.items())
        return f"{self.scheme}://{where}{self.path}" + (f"?{shown}" if shown else "")

    __str__ = masked


def mask(text: str) -> str:
    """Mask the password of every URL inside a text, such as a client library's error message."""
    return _IN_TEXT.sub(lambda m: f"{m['head']}:{MASK}@", text)
