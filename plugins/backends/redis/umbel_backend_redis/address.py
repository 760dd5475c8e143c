"""What the backend's settings say of where the Redis server is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from umbel_client_redis import Address
from umbel_kernel.url import URL


def address_of(url: URL, options: Mapping[str, Any]) -> Address:
    """The address that a URL and the settings name.

    Raises:
        ConfigurationError: as for ``Address``.
    """
    return Address(
        url,
        host=options.get("redis_host"),
        port=options.get("redis_port"),
        db=options.get("redis_db"),
        username=options.get("redis_username"),
        password=options.get("redis_password"),
        connect_limit=options.get("redis_socket_connect_timeout"),
        keepalive=bool(options.get("redis_socket_keepalive")),
        tls=options.get("redis_backend_use_ssl"),
    )
