"""URLs of brokers and stores, whose secrets never reach a message or a log."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from umbel_kernel.errors import ConfigurationError

MASK = "**"
_SECRET = re.compile(r"(?i)pass|secret|token|key$|credential")
# A password that was not percent-encoded may hold nearly anything: it reaches to the last @ before the next URL.
_PASSWORD = re.compile(r"([A-Za-z][\w+.-]*://[^\s:@]*):(?:(?!://)\S)*@")
_IN_QUERY = re.compile(r"([?&][^=&\s]*(?:(?i:pass|secret|token|credential)[^=&\s]*|(?i:key)))=[^&\s]*")


@dataclass(frozen=True, slots=True, repr=False)
class URL:
    """A parsed URL, percent-decoded. ``str()`` and ``repr()`` mask the password and secret query values."""

    scheme: str  # lower case, such as ``redis`` or ``kombu+filesystem``
    host: str | None = None
    port: int | None = None
    username: str | None = None
    password: str | None = None
    path: str = ""  # everything after the authority with its leading slash
    query: dict[str, str] = field(default_factory=dict)  # the last value for each name
    raw: str = field(default="", compare=False)  # as it was given, secrets included; for the client library only

    @classmethod
    def parse(cls, text: str) -> URL:
        """Read a URL; a bare word such as ``rpc`` or ``memory`` is a scheme.

        Raises:
            ConfigurationError: it is no URL; the message shows it masked.
        """
        if not isinstance(text, str) or not text.strip():
            raise ConfigurationError(f"a URL is a non-empty string such as 'redis://localhost:6379/0', not {text!r}")
        text = text.strip()
        scheme, found, rest = text.partition("://")
        if not found and re.fullmatch(r"[A-Za-z][\w+.-]*", text):
            return cls(scheme=text.lower(), raw=f"{text}://")
        if not found or not re.fullmatch(r"[A-Za-z][\w+.-]*", scheme):
            shown = mask(f"{MASK}@{text.rpartition('@')[2]}" if "@" in text else text)
            raise ConfigurationError(f"{shown!r} is not a URL: it has no scheme, as in 'redis://localhost:6379/0'")
        try:
            parts = urlsplit("umbel://" + rest, allow_fragments=False)
            host, port = parts.hostname, parts.port
        except ValueError:  # its message quotes the text, which may be part of a password
            raise ConfigurationError(
                f"{_mask_one(text)!r} is not a URL: its host and port cannot be read; "
                f"percent-encode special characters in a password"
            ) from None
        return cls(
            scheme=scheme.lower(),
            host=unquote(host) if host else None,
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
        who += f":{MASK}@" if self.password is not None else "@" if who else ""
        host = self.host or ""
        where = who + (f"[{host}]" if ":" in host else host) + ("" if self.port is None else f":{self.port}")
        shown = "&".join(f"{k}={MASK if _SECRET.search(k) else v}" for k, v in self.query.items())
        return _mask_one(f"{self.scheme}://{where}{self.path}" + (f"?{shown}" if shown else ""))

    __str__ = masked

    def __repr__(self) -> str:
        return f"URL({self.masked()!r})"


def _mask_one(url: str) -> str:
    """Mask a text that is one URL, whatever its password holds."""
    head, found, rest = url.partition("://")
    who, at, where = rest.rpartition("@")
    return mask(f"{head}{found}{who.partition(':')[0]}:{MASK}@{where}" if at and ":" in who else url)


def mask(text: str) -> str:
    """Mask passwords and secret query values of every URL inside a text, such as a client library's message."""
    return _IN_QUERY.sub(rf"\1={MASK}", _PASSWORD.sub(rf"\1:{MASK}@", text))
