"""The Redis result backend behind Sentinels."""

from __future__ import annotations

from umbel_backend_redis.backend import RedisBackend
from umbel_backend_redis.settings import SENTINEL_SETTINGS, SETTINGS
from umbel_kernel.spi.backend import BackendCapability


class SentinelBackend(RedisBackend):
    """The Redis result backend, on whichever server the sentinels name as the master when it connects.

    ``sentinel://host:26379;sentinel://host2:26379``: the URLs are the sentinels of one master, whose name is the option
    ``master_name``.
    """

    capabilities = RedisBackend.capabilities | {BackendCapability.GROUP_URL}
    settings = SETTINGS + SENTINEL_SETTINGS
