"""What the broker's settings say of where the Redis server is."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from umbel_client_redis import Address
from umbel_kernel.url import URL

SENTINELS = "umbel_client_redis.sentinels"
"""Imported only where sentinels are named, since the library that asks them is large."""


def address_of(url: URL, options: Mapping[str, Any]) -> Address:
    """The address that a URL and the settings name.

    Raises:
        ConfigurationError: as for ``Address`` and ``Sentinels``.
    """
    said: dict[str, Any] = {
        "credential_provider": options.get("credential_provider"),
        "client_name": options.get("client_name"),
        "connect_limit": options.get("socket_connect_timeout"),
        "keepalive": options.get("socket_keepalive", True),
        "keepalive_options": options.get("socket_keepalive_options"),
        "tls": options.get("broker_use_ssl") or options.get("ssl"),
    }
    if url.scheme != "sentinel":
        return Address(url, **said)
    made: Address = importlib.import_module(SENTINELS).Sentinels(
        url,
        master_name=options.get("master_name"),
        min_other_sentinels=options.get("min_other_sentinels") or 0,
        sentinel_kwargs=options.get("sentinel_kwargs"),
        **said,
    )
    return made
