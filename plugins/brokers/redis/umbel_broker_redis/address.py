"""What the broker's settings say of where the Redis server is."""

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
        client_name=options.get("client_name"),
        connect_limit=options.get("socket_connect_timeout"),
        keepalive=options.get("socket_keepalive", True),
        keepalive_options=options.get("socket_keepalive_options"),
        tls=options.get("broker_use_ssl") or options.get("ssl"),
    )
