"""What the worker holds across a lost connection, and what becomes of holds that it lost without a word.

A broker whose holds are leases keeps them while a connection is made anew. A worker that was stopped for longer than a
lease wakes up with tasks that others have by now.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from umbel.app.outcome import TaskOutcome
from umbel.worker.held import Held, Identity, identity, tell_refused
from umbel.worker.settling import Settling
from umbel_kernel.spi.broker import Consumer
from umbel_kernel.spi.message import Delivery
from umbel_kernel.spi.pool import Outcome, Pool

logger = logging.getLogger("umbel.worker.holds")

LONGEST_HOLD = 900.0
"""Seconds after which a message that only waits here for its time is given back, to come again at once."""


class Holder(Protocol):
    """What is needed of the loop."""

    app: Any
    consumer: Consumer | None
    pool: Pool
    settling: Settling
    ready: deque[Held]
    running: dict[int, Held]
    later: dict[int, Held]

    def deliveries(self) -> list[Delivery]:
        """Every delivery that is held."""
        ...

    def withdraw(self, job_ids: Sequence[int]) -> list[Held]:
        """Take jobs back from the pool that have not begun."""
        ...


class Holds:
    """Keeps or forgets what a loop holds.

    Attributes:
        identity: that of the consumer whose connection was lost, while there is no other; empty when there is nothing
            to go on with.
    """

    def __init__(self, loop: Holder) -> None:
        self._loop = loop
        self.identity = ""

    def suspend(self, consumer: Consumer | None) -> bool:
        """The connection is lost. Returns whether what is held can stay, because the holds outlive it.

        What the pool has not begun waits here again: nothing new begins before it is sure that it is still held.
        """
        loop = self._loop
        if consumer is not None:
            self.identity = consumer.identity
            if self.identity:
                loop.settling.suspend(consumer)
        if not self.identity:
            return False
        loop.ready.extendleft(reversed(loop.withdraw(list(loop.running))))
        return True

    def resume(self, consumer: Consumer) -> None:
        """There is a connection again: forget what is not held any more, because the store lost it or others have it.

        Raises:
            OperationalError: the connection is lost again.
        """
        if not self.identity:
            return
        held = self._loop.deliveries()
        goes_on = consumer.identity == self.identity
        overdue = goes_on and consumer.in_doubt
        gone = consumer.missing(held) if goes_on else held
        self.identity = ""
        if gone:
            said = "; their lease ran out, and other workers have them" if overdue else ""
            logger.warning(
                "%d of %d messages are held no longer after the connection was lost%s", len(gone), len(held), said
            )
            self._lose(gone, refuse=overdue)

    def drop(self) -> None:
        """There will be no other connection."""
        self.identity = ""

    def check(self) -> None:
        """If a lease may have run out, find out what is lost, and let nothing follow from it.

        Raises:
            OperationalError: the connection is lost.
        """
        consumer = self._loop.consumer
        if consumer is None or not consumer.in_doubt:
            return
        held = self._loop.deliveries()
        gone = consumer.missing(held)
        if gone:
            logger.warning(
                "the lease of %d of %d messages ran out while this worker was stopped or could not renew it; "
                "other workers have them",
                len(gone),
                len(held),
            )
            self._lose(gone, refuse=True)

    def wear_out(self, delivery: Delivery | None) -> bool:
        """Whether a hold has to be begun anew now and then: RabbitMQ ends the channel of who holds a message for half
        an hour. Leases are renewed otherwise; and where the broker counts deliveries, another one would count."""
        consumer = self._loop.consumer
        if consumer is None or delivery is None:
            return False
        return consumer.lease is None and delivery.delivery_count is None

    def refuse(self, held: Held, outcome: Outcome) -> None:
        """Let nothing follow from a run whose task others have, but for the end of a chord that it has completed:
        that is told once, and whoever has the task by now is not told."""
        tell_refused(held)
        if outcome.error is None:
            ended = TaskOutcome.unpack(outcome.value, self._loop.app.queues)
            self._loop.settling.publish([each for each in ended.outgoing if each.ends])

    def knows(self, delivery: Delivery, here: Mapping[Identity | None, Held]) -> bool:
        """Whether a delivery that comes again is of a task that is here or has just ended here."""
        settling, which = self._loop.settling, identity(delivery.headers)
        if which is None:
            return False
        held = here.get(which)
        if held is None:
            if not settling.has_ended(which):
                return False
            settling.ack_delivery(delivery)
        elif held.acked:
            settling.has_ended(which)
            settling.ack_delivery(delivery)
        else:
            # Its lease ran out, or its connection was lost, while the task waited or ran here: this hold is the
            # good one. An earlier one that is good as well is of a message that was sent twice.
            earlier, held.delivery, held.refused = held.delivery, delivery, False
            if earlier is not None:
                settling.ack_delivery(earlier)
        return True

    def _lose(self, deliveries: Sequence[Delivery], *, refuse: bool) -> None:
        loop, gone = self._loop, set(deliveries)
        kept = [held for held in loop.ready if held.delivery not in gone]
        loop.ready.clear()
        loop.ready.extend(kept)
        for job_id in [job_id for job_id, held in loop.later.items() if held.delivery in gone]:
            del loop.later[job_id]
        lost = {job_id: held for job_id, held in loop.running.items() if not held.acked and held.delivery in gone}
        loop.withdraw(list(lost))
        for job_id, held in lost.items():
            if job_id in loop.running:
                held.delivery, held.refused = None, refuse
        loop.settling.lose(gone, refuse=refuse)
