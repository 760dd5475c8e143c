"""The Redis broker behind Sentinels."""

from __future__ import annotations

from umbel_broker_redis.broker import RedisBroker
from umbel_broker_redis.settings import SENTINEL_SETTINGS, SETTINGS
from umbel_kernel.spi.broker import BrokerCapability


class SentinelBroker(RedisBroker):
    """The Redis broker, on whichever server the sentinels name as the master when it connects.

    ``sentinel://host:26379;sentinel://host2:26379``: the URLs are the sentinels of one master, whose name is the option
    ``master_name``. After a failover the connections break or are refused writes, and the next ones go to the new
    master.
    """

    capabilities = RedisBroker.capabilities | {BrokerCapability.GROUP_URL}
    settings = SETTINGS + SENTINEL_SETTINGS
