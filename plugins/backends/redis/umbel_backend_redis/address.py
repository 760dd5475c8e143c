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
    """A URL and its options, made into connections.

    ``redis://user:password@host:port/db``, ``rediss://`` for TLS, ``redis+socket:///path?virtual_host=db`` for a Unix
    socket.

    Raises:
        ConfigurationError: the database is no number, or a TLS option is unknown.
    """

    def __init__(self, url: URL, options: Mapping[str, Any]) -> None:
        self.shown = url.masked()
        local = url.scheme.endswith("+socket")
        place = url.query.get("virtual_host", "") if local else url.path.strip("/")
        if place and not place.isdigit():
            raise ConfigurationError(f"{self.shown} names database {place!r}; in Redis it is a number, as in /0")
        self.db = int(place or options.get("redis_db") or 0)
        self._arguments: dict[str, Any] = {
            "db": self.db,
            "username": url.username or options.get("redis_username"),
            "password": url.password if url.password is not None else options.get("redis_password"),
            "protocol": 2,
            "client_name": options.get("client_name"),
        }
        self._connect_limit = options.get("redis_socket_connect_timeout")
        self._class: Any = redis.Connection
        if local:
            self._class = redis.UnixDomainSocketConnection
            self._arguments["path"] = url.path
        else:
            self._arguments["host"] = url.host or options.get("redis_host") or "127.0.0.1"
            self._arguments["port"] = url.port or options.get("redis_port") or 6379
            self._arguments["socket_keepalive"] = bool(options.get("redis_socket_keepalive"))
        tls = options.get("redis_backend_use_ssl")
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
