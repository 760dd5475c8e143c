"""Where the Redis server is and how to open a connection to it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any

import redis

from umbel_kernel.errors import ConfigurationError
from umbel_kernel.url import URL

_CERTIFICATES = {
    "CERT_REQUIRED": ssl.CERT_REQUIRED,
    "CERT_OPTIONAL": ssl.CERT_OPTIONAL,
    "CERT_NONE": ssl.CERT_NONE,
    "required": ssl.CERT_REQUIRED,
    "optional": ssl.CERT_OPTIONAL,
    "none": ssl.CERT_NONE,
}


class Address:
    """A URL and what options say beside it, made into connections.

    ``redis://user:password@host:port/db``, ``rediss://`` for TLS, ``redis+socket:///path?virtual_host=db`` for a Unix
    socket.

    Args:
        host, port, db, username, password: where the URL names none.
        client_name: what CLIENT LIST shows.
        connect_limit: seconds that connecting may take at most.
        keepalive: whether the connections send TCP keepalives.
        keepalive_options: numbers of TCP options and their values.
        tls: true, or the TLS options of redis-py, whose names begin with ``ssl_``; the URL's query goes before them.

    Raises:
        ConfigurationError: the database is no number, or a TLS option is unknown.
    """

    def __init__(
        self,
        url: URL,
        *,
        host: str | None = None,
        port: int | None = None,
        db: int | None = None,
        username: str | None = None,
        password: str | None = None,
        client_name: str | None = None,
        connect_limit: float | None = None,
        keepalive: bool = True,
        keepalive_options: Mapping[int, Any] | None = None,
        tls: object = None,
    ) -> None:
        self.shown = url.masked()
        local = url.scheme.endswith("+socket")
        place = url.query.get("virtual_host", "") if local else url.path.strip("/")
        if place and not place.isdigit():
            raise ConfigurationError(f"{self.shown} names database {place!r}; in Redis it is a number, as in /0")
        self.db = int(place or db or 0)
        self._arguments: dict[str, Any] = {
            "db": self.db,
            "username": url.username or username,
            "password": url.password if url.password is not None else password,
            "protocol": 2,
            "client_name": client_name,
        }
        self._connect_limit = connect_limit
        self._class: Any = redis.Connection
        if local:
            self._class = redis.UnixDomainSocketConnection
            self._arguments["path"] = url.path
        else:
            self._arguments["host"] = url.host or host or "127.0.0.1"
            self._arguments["port"] = url.port or port or 6379
            self._arguments["socket_keepalive"] = keepalive
            self._arguments["socket_keepalive_options"] = keepalive_options
        if not local and (url.scheme.startswith("rediss") or tls):
            self._class = redis.SSLConnection
            self._arguments.update(_tls(url, tls if isinstance(tls, Mapping) else {}))

    def connection(self, timeout: float) -> Any:
        """A connection, not yet open, each of whose steps may take ``timeout`` seconds."""
        arguments = {key: value for key, value in self._arguments.items() if value is not None}
        if self._class is not redis.UnixDomainSocketConnection:
            arguments["socket_connect_timeout"] = min(timeout, float(self._connect_limit or timeout))
        return self._class(socket_timeout=timeout, **arguments)


def _tls(url: URL, options: Mapping[str, Any]) -> dict[str, Any]:
    wanted = dict(options)
    for name, value in url.query.items():
        if name.startswith("ssl_"):
            wanted[name] = value
    checked = wanted.get("ssl_cert_reqs", ssl.CERT_REQUIRED)
    if isinstance(checked, str):
        if checked not in _CERTIFICATES:
            raise ConfigurationError(f"ssl_cert_reqs is {checked!r}; it has to be one of {', '.join(_CERTIFICATES)}")
        checked = _CERTIFICATES[checked]
    wanted["ssl_cert_reqs"] = checked
    if checked == ssl.CERT_NONE:
        wanted.setdefault("ssl_check_hostname", False)
    return wanted
