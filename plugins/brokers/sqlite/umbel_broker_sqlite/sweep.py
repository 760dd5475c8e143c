"""The look, now and then, for what the dead left behind and for what is over."""

from __future__ import annotations

from umbel_broker_sqlite import member, topology
from umbel_broker_sqlite.presence import Presence
from umbel_client_sqlite import Connection, Ringer
from umbel_kernel.clock import Clock

_OVER = "SELECT EXISTS (SELECT 1 FROM umbel_broker_message WHERE expires < ?)"


def sweep(connection: Connection, presence: Presence, clock: Clock, ringer: Ringer, deadline: float) -> bool:
    """Give back what lost members held, drop expired messages and queues that nobody used.

    It only reads while there is nothing to do, so many consumers may sweep without being in each other's way.

    Returns:
        whether there was something to do.

    Raises:
        OperationalError: the file cannot be read or written.
    """
    doing = "sweep"
    now = clock.time()
    with connection.reading(doing) as sqlite:
        lost = member.lost(sqlite, presence, clock)
        unused = member.unused(sqlite, now)
        over = sqlite.execute(_OVER, (now,)).fetchone()[0]
    if not (lost or unused or over):
        return False
    with connection.transaction(deadline, doing) as sqlite:
        # Again, now that nobody else can write: another consumer may have swept, or the silent one shown life.
        queues: set[int] = set()
        for id in member.lost(sqlite, presence, clock) if lost else ():
            queues |= member.leave(sqlite, id, now)
        if unused:
            topology.delete(sqlite, member.unused(sqlite, now))
        if over:
            member.drop_expired(sqlite, now)
        waiters = member.waiters_of(sqlite, queues)
    for address in waiters:
        ringer.ring(address)
    return True
