"""Gives back what consumers of umbel held whose lease has run out, and what was theirs alone."""

from __future__ import annotations

import logging

from umbel_broker_redis import temporary
from umbel_broker_redis.giving_back import OVERDUE as WHY
from umbel_broker_redis.giving_back import give_back, names_of
from umbel_broker_redis.layout import Layout
from umbel_broker_redis.scripts import OVERDUE
from umbel_client_redis import Link, run
from umbel_kernel.errors import ChannelError

logger = logging.getLogger("umbel.broker.redis")

_AT_ONCE = 16


def reclaim(link: Link, layout: Layout, identity: str, timeout: float) -> bool:
    """Look once, for up to 16 consumers.

    Several may look at the same time: each message goes back once.

    Args:
        identity: who looks.
        timeout: seconds for each trip.

    Returns:
        whether anything went back.

    Raises:
        OperationalError: the connection is lost.
        ChannelError: the server refuses to look.
    """
    found = False
    for gone in names_of(link.ask(*run(OVERDUE, (layout.consumers,), identity, _AT_ONCE), timeout=timeout)):
        try:
            temporary.drop(link, layout, gone, timeout)
            fields = link.ask("HKEYS", layout.held(gone), timeout=timeout)
            count = give_back(link, layout, gone, fields, WHY, timeout)
        except ChannelError as error:
            logger.error("what the consumer %s held cannot be given back: %s", gone, error)
            continue
        if count:
            logger.warning("%d messages go back that the consumer %s held, whose lease ran out", count, gone)
            found = True
    return found
