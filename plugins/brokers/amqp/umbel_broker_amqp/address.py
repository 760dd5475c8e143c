"""Where the AMQP server is and how to open a connection to it."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import amqp.exceptions

from umbel_broker_amqp.connection import Connection
from umbel_kernel.errors import ConfigurationError
from umbel_kernel.url import URL

_CHECKS = {
    "none": ssl.CERT_NONE,
    "optional": ssl.CERT_OPTIONAL,
    "required": ssl.CERT_REQUIRED,
}
_TLS = frozenset(
    {
        "ca_certs",
        "certfile",
        "keyfile",
        "cert_reqs",
        "server_hostname",
        "ciphers",
        "ssl_version",
        "context",
        "tls_minimum_version",
        "tls_maximum_version",
    }
)


class Address:
    """A URL and its options, made into connections.

    ``amqp://user:password@host:port/vhost``; the path ``//`` or none is the virtual host ``/``, as in kombu. ``amqps``
    is TLS that checks the server's certificate and name.

    Raises:
        ConfigurationError: ``broker_use_ssl`` has a key or a value that nobody knows.
    """

    def __init__(self, url: URL, options: Mapping[str, Any]) -> None:
        self.shown = url.masked()
        self.heartbeat = float(options.get("broker_heartbeat", 120.0) or 0.0)
        host = url.host or "127.0.0.1"
        given = options.get("broker_use_ssl") or options.get("ssl") or url.scheme == "amqps"
        self._tls = _tls(given, host)
        vhost = unquote(url.path[1:]) if url.path.startswith("/") else url.path
        self._arguments: dict[str, Any] = {
            "host": f"{host}:{url.port or (5671 if self._tls else 5672)}",
            "userid": url.username or "guest",
            "password": url.password if url.password is not None else "guest",
            "virtual_host": vhost or "/",
            "login_method": options.get("broker_login_method") or "PLAIN",
            "ssl": self._tls or False,
            "client_properties": dict(options.get("client_properties") or {"product": "umbel"}),
            "socket_settings": options.get("socket_settings"),
        }

    def connection(self, timeout: float) -> Connection:
        """A connection of py-amqp, not yet open, each of whose steps may take ``timeout`` seconds."""
        return Connection(
            connect_timeout=timeout,
            read_timeout=timeout,
            write_timeout=timeout,
            heartbeat=self.heartbeat,
            **self._arguments,
        )

    def hint(self, error: BaseException) -> str:
        """What a person can do about an error of connecting."""
        if isinstance(error, ssl.SSLCertVerificationError):
            return "look at ca_certs and server_hostname in broker_use_ssl"
        if isinstance(error, ssl.SSLError):
            return "look at broker_use_ssl: does this port speak TLS, and does the server ask for a certificate?"
        if isinstance(error, amqp.exceptions.AccessRefused):
            return "look at the user and the password in broker_url"
        if isinstance(error, amqp.exceptions.NotAllowed):
            return "look at the virtual host in broker_url: is it there, and may this user use it?"
        if isinstance(error, ConnectionRefusedError):
            return "is it running?"
        return f"is it running, and are user, vhost and {'TLS' if self._tls else 'port'} right?"


def _tls(given: Any, host: str) -> dict[str, Any]:
    """What py-amqp is told about TLS; empty for none. The name is checked wherever the certificate is."""
    if not given:
        return {}
    if not isinstance(given, Mapping):
        return {"server_hostname": host}
    tls = dict(given)
    unknown = sorted(set(tls) - _TLS)
    if unknown:
        raise ConfigurationError(
            f"broker_use_ssl has {', '.join(map(repr, unknown))}; known are {', '.join(sorted(_TLS))}"
        )
    check = tls.get("cert_reqs")
    if isinstance(check, str):
        check = tls["cert_reqs"] = _CHECKS.get(check.lower().removeprefix("cert_"))
        if check is None:
            raise ConfigurationError(f"cert_reqs in broker_use_ssl is one of {', '.join(_CHECKS)}, not {given!r:.40}")
    if "context" not in tls and check != ssl.CERT_NONE:
        tls.setdefault("server_hostname", host)
    return tls
