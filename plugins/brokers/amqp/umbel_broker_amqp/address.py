"""Where the AMQP server is and how to open a connection to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

import amqp

from umbel_kernel.url import URL


class Address:
    """A URL and its options, made into connections.

    ``amqp://user:password@host:port/vhost``; the path ``//`` or none is the virtual host ``/``, as in kombu. ``amqps``
    is TLS that checks the server's certificate and name.
    """

    def __init__(self, url: URL, options: Mapping[str, Any]) -> None:
        self.shown = url.masked()
        self.heartbeat = float(options.get("broker_heartbeat", 120.0) or 0.0)
        host = url.host or "127.0.0.1"
        tls = options.get("broker_use_ssl") or options.get("ssl")
        if url.scheme == "amqps" and not isinstance(tls, Mapping):
            tls = {"server_hostname": host}
        vhost = unquote(url.path[1:]) if url.path.startswith("/") else url.path
        self._arguments: dict[str, Any] = {
            "host": f"{host}:{url.port or (5671 if tls else 5672)}",
            "userid": url.username or "guest",
            "password": url.password if url.password is not None else "guest",
            "virtual_host": vhost or "/",
            "login_method": options.get("broker_login_method") or "PLAIN",
            "ssl": dict(tls) if isinstance(tls, Mapping) else bool(tls),
            "client_properties": dict(options.get("client_properties") or {"product": "umbel"}),
            "socket_settings": options.get("socket_settings"),
        }

    def connection(self, timeout: float, heartbeat: float) -> Any:
        """A connection of py-amqp, not yet open, each of whose steps may take ``timeout`` seconds."""
        return amqp.Connection(
            connect_timeout=timeout, read_timeout=timeout, write_timeout=timeout, heartbeat=heartbeat, **self._arguments
        )
