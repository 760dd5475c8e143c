"""Settling: what follows from tasks that started or ended, done in batches and in the one safe order.

First the messages that follow from a task are published, then it is counted for the chord that it is a member of and
its result is stored, and only then is its own message acknowledged; that of the member that made a chord's header
complete, when what follows from the chord is published. So a crash in between repeats a step and never loses one.
"""

from __future__ import annotations

import logging
from collections import OrderedDict, deque
from collections.abc import Callable, Collection, Iterable
from time import monotonic
from typing import Any

from umbel.app.outbox import Outgoing
from umbel.app.outcome import TaskOutcome, Verdict
from umbel.app.publisher import BATCH
from umbel.model import states
from umbel.model.brief import brief
from umbel.worker.chords import Chords, Member
from umbel.worker.held import Held, Identity, identity, tell_refused
from umbel.worker.postponed import Postponed
from umbel_kernel.errors import OperationalError, PublishError
from umbel_kernel.spi.backend import Record
from umbel_kernel.spi.broker import Consumer
from umbel_kernel.spi.message import Delivery

logger = logging.getLogger("umbel.worker.settling")

_REMEMBERED = 10_000
_LAST_ENDS = 2.0


class Settling:
    """Gathers what is to be done and does it with ``flush``.

    When the broker or the store is away, all of it waits and ``flush`` tries again after a pause that
    grows to five seconds.

    Args:
        app: the app.
        now: the monotonic time.
    """

    def __init__(self, app: Any, *, now: Callable[[], float] = monotonic) -> None:
        self._app = app
        self._now = now
        self.consumer: Consumer | None = None
        self._outgoing: list[Outgoing] = []
        self._ends: list[tuple[str, str]] = []
        self._deferred: deque[Callable[[], None]] = deque()
        self.chords = Chords(app)
        self._records: list[Record] = []
        self._acks: list[Held | _Bare] = []
        self._started: list[Held] = []
        self._rejects: list[Delivery] = []
        self._requeues: list[Delivery] = []
        self._pause = 0.0
        self._not_before = 0.0
        self._ended_unacked: OrderedDict[Identity, None] = OrderedDict()
        self._former: Consumer | None = None
        self._unsure: list[Held] = []
        self._postponed = Postponed()

    def __len__(self) -> int:
        handing = max(len(self._outgoing), len(self._records), len(self._ends), len(self._deferred))
        return max(handing, len(self.chords) + len(self._acks) + len(self._rejects) + len(self._requeues))

    def publish(self, outgoing: Iterable[Outgoing]) -> None:
        """Publish these at the next flush."""
        self._outgoing.extend(outgoing)

    def store(self, record: Record) -> None:
        """Store this at the next flush."""
        self._records.append(record)

    def defer(self, step: Callable[[], None]) -> None:
        """Do this at the next flush, before anything else, and again as long as it raises ``OperationalError``."""
        self._deferred.append(step)

    def ack(self, held: Held) -> None:
        """Acknowledge a task's message at the next flush, once."""
        if held.acked or held.refused:
            return
        held.acked = True
        if held.delivery is None:
            # It came by a connection that is lost, so it comes again, and is acknowledged then.
            self._remember(held.identity)
        else:
            self._acks.append(held)

    def ack_start(self, held: Held) -> None:
        """Acknowledge a task's message because the task begins; this does not wait for the store."""
        if not held.acked and held.delivery is not None:
            self._started.append(held)
        self.ack(held)

    def reject(self, delivery: Delivery, *, requeue: bool) -> None:
        """Drop or give back a message at the next flush."""
        (self._requeues if requeue else self._rejects).append(delivery)

    def ack_delivery(self, delivery: Delivery) -> None:
        """Acknowledge a message that is nobody's task at the next flush."""
        # A rejected message without requeue is gone like an acknowledged one, and some brokers would put
        # it into a dead-letter exchange of their own; so it is acknowledged.
        self._acks.append(_Bare(delivery))

    def settle(self, held: Held, outcome: TaskOutcome) -> None:
        """Note all that follows from the end of a task."""
        if outcome.outgoing:
            self._outgoing.extend(outcome.outgoing)
        if outcome.record is not None:
            self._records.append(outcome.record)
        counts = self.chords.add(held, outcome)
        if held.acked:
            return
        held.outcome = outcome
        if self._former is not None:
            self._unsure.append(held)
        if not (counts and held.plan.late):
            self._acknowledge(held, outcome)

    def _acknowledge(self, held: Held, outcome: TaskOutcome) -> None:
        """Acknowledge, drop or give back the message of a task that has ended."""
        plan, verdict, delivery = held.plan, outcome.verdict, held.delivery
        if verdict is Verdict.REQUEUE and plan.late:
            held.acked = True
            if delivery is not None:
                # Without one it came by a connection that is lost, and comes again by itself.
                self._requeues.append(delivery)
        elif (
            plan.late
            and delivery is not None
            and (
                verdict is Verdict.REJECT
                or (verdict is Verdict.FAILED and not plan.ack_failed)
                or (verdict is Verdict.TIMED_OUT and not plan.ack_timed_out)
            )
        ):
            held.acked = True
            self._rejects.append(delivery)
        elif plan.late:
            self.ack(held)
        else:
            self.ack_start(held)

    def deliveries(self) -> list[Delivery]:
        """Every delivery that is still to be settled; safe to read from any thread."""
        held = [*(each for each in self.chords.held if not each.acked), *list(self._acks)]
        deliveries = [each.delivery for each in held if each.delivery is not None]
        return [*deliveries, *list(self._rejects), *list(self._requeues)]

    def unsettled(self) -> str:
        """What waits, for people."""
        ids = [str(each.message.headers.get("id")) for each in self._outgoing] + [r.task_id for r in self._records]
        more = f" and {len(ids) - 20} more" if len(ids) > 20 else ""
        return (
            f"{len(self._outgoing)} messages, {len(self._records)} results, {len(self.chords)} members of chords, "
            f"{len(self._acks) + len(self._rejects) + len(self._requeues)} acknowledgements; "
            f"of tasks: {', '.join(ids[:20]) or 'none'}{more}"
        )

    @property
    def retry_in(self) -> float | None:
        """Seconds until ``flush`` should be called again, or None when nothing waits."""
        # Acknowledgements alone only wait for a connection.
        return max(self._not_before - self._now(), 0.0) if self._handing else None

    @property
    def _handing(self) -> bool:
        """Whether there is something for the broker or the store."""
        return bool(self._outgoing or self._records or self._ends or self._deferred or self.chords.waiting)

    def hurry(self) -> bool:
        """Publish what was gathered, ahead of ``flush``, which does the rest. Returns whether there was anything: then
        some of it may be in a queue that this worker reads.
        """
        if not self._outgoing or self._pause or self._deferred or self._former is not None:
            return False
        try:
            self._publish()
            if self._ends:
                self._end_chords()
        except OperationalError as error:
            self._put_off(error)
            return False
        return True

    def flush(self, *, force: bool = False) -> bool:
        """Do what was gathered. Returns whether nothing is left.

        Args:
            force: do not wait for the pause after a failure to pass.

        Raises:
            OperationalError: the consumer's connection is lost.
        """
        if self.chords.under_way:
            self._take_ends()
        if self._unsure and self._former is not None and self._former.in_doubt:
            self._postpone()
        if not self._handing:
            self._settle_deliveries()
            return not self.chords.under_way
        if not force and self._pause and self._now() < self._not_before:
            self._ack_started()
            return False
        try:
            while self._deferred:
                self._deferred[0]()
                self._deferred.popleft()
            if self._outgoing:
                self._publish()
            if self._ends:
                self._end_chords()
            for member in self.chords.count(self._uncounted):
                if member.held.plan.late and not (member.held.acked or member.held.refused):
                    self._acknowledge(member.held, member.outcome)
            if self._records:
                self._store()
        except OperationalError as error:
            self._put_off(error)
            self._ack_started()
            return False
        self._pause = 0.0
        self.chords.end()
        self._settle_deliveries()
        if force and self.chords.under_way and self.chords.join(_LAST_ENDS):
            return self.flush(force=True)
        return not self.chords.under_way

    def _put_off(self, error: OperationalError) -> None:
        """Try again after a pause."""
        self._pause = min(max(self._pause * 2, 0.2), 5.0)
        self._not_before = self._now() + self._pause
        logger.error(
            "cannot hand over %d messages and %d results: %s; they are kept, trying again in %.1f seconds",
            len(self._outgoing),
            len(self._records),
            error,
            self._pause,
        )

    def _uncounted(self, member: Member, error: Exception) -> None:
        """A member whose part the store refuses has failed."""
        if member.outcome.record is not None:
            refusal = self._app.backend.record(member.held.task_id, states.FAILURE, error)
            refusal.fence = member.outcome.record.fence
            self._records = [record for record in self._records if record is not member.outcome.record] + [refusal]

    def _take_ends(self) -> None:
        """Take over what follows from chords, where it is made by now."""
        for member in self.chords.take():
            held = member.held
            if member.error is not None:
                self._put_off(member.error)
            elif held.refused:
                tell_refused(held)
                self._outgoing += [each for each in member.outgoing if each.ends]
            else:
                ended = member.outcome
                self.settle(held, TaskOutcome(
                    ended.task_id, ended.name, ended.state, verdict=ended.verdict, outgoing=member.outgoing
                ))  # fmt: skip

    def _publish(self) -> None:
        """Publish batch by batch, so that what one batch has handed over is not sent again with the next."""
        while self._outgoing:
            batch = self._outgoing[:BATCH]
            self._app.publisher.begin_chords(batch)
            try:
                self._app.publisher.publish(batch, retry=False)
            except PublishError as error:
                failed = {id(message) for message in error.failed}
                if failed:
                    self._ends += [end for each in batch if id(each.message) not in failed for end in each.ends]
                    self._outgoing[: len(batch)] = [each for each in batch if id(each.message) in failed]
                self._app.connections.drop_current_broker()
                raise
            except OperationalError:
                self._app.connections.drop_current_broker()
                raise
            except Exception as error:
                if len(batch) == 1:
                    self._refused(batch[0], error)
                else:
                    self._publish_each(len(batch))
                    continue
            del self._outgoing[: len(batch)]
            self._ends += [end for each in batch for end in each.ends]

    def _publish_each(self, count: int) -> None:
        """Publish the first so many one by one, because the broker refused one of them."""
        for _ in range(count):
            try:
                self._app.publisher.publish(self._outgoing[:1], retry=False)
            except OperationalError:
                self._app.connections.drop_current_broker()
                raise
            except Exception as error:
                self._refused(self._outgoing[0], error)
            self._ends += self._outgoing[0].ends
            del self._outgoing[0]

    def _end_chords(self) -> None:
        """Tell the store of the chords whose ends are published: all that was to be is by now."""
        self._ends = list(dict.fromkeys(self._ends))
        while self._ends:
            group_id, run = self._ends[-1]
            try:
                self._app.backend.end_chord(group_id, run)
            except OperationalError:
                raise
            except Exception as error:
                logger.error("the store does not note that the chord of group %s has ended: %s", group_id, error)
            self._ends.pop()

    def _refused(self, outgoing: Outgoing, error: Exception) -> None:
        headers = outgoing.message.headers
        logger.critical(
            "the broker refuses a message that follows from a task, so it is lost: %s: %s; "
            "it is task %s[%s] for queue %r",
            type(error).__name__,
            error,
            headers.get("task"),
            headers.get("id"),
            outgoing.queue.name if outgoing.queue is not None else outgoing.message.routing_key,
        )
        task_id = headers.get("id")
        if isinstance(task_id, str) and self._app.backend.enabled:
            self._records.append(self._app.backend.record(task_id, states.FAILURE, error))

    def _store(self) -> None:
        try:
            self._app.backend.store(self._records)
        except OperationalError:
            raise
        except Exception as error:
            logger.debug("the store refuses a batch of %d results, so each goes alone: %s", len(self._records), error)
            for record in self._records:
                self._store_one(record)
        self._records = []

    def _store_one(self, record: Record) -> None:
        try:
            self._app.backend.store([record])
        except OperationalError:
            raise
        except Exception as error:
            logger.error("the result of task %s was refused: %s: %s", record.task_id, type(error).__name__, error)
            self._store_refusal(record, error)

    def _store_refusal(self, record: Record, error: Exception) -> None:
        """Tell the caller why there is no result, instead of letting it wait."""
        try:
            refusal = self._app.backend.record(record.task_id, states.FAILURE, error)
            refusal.fence = record.fence
            self._app.backend.store([refusal])
        except OperationalError:
            raise
        except Exception as again:
            logger.error("nor can the store take the reason for task %s: %s", record.task_id, brief(again))

    def _ack_started(self) -> None:
        """Acknowledge what has begun, although what else is to be done has to wait."""
        consumer, started = self.consumer, self._started
        if not started:
            return
        if consumer is not None:
            consumer.ack([held.delivery for held in started if held.delivery is not None])
            done = set(map(id, started))
            self._acks = [each for each in self._acks if id(each) not in done]
        self._started = []

    def _settle_deliveries(self) -> None:
        consumer = self.consumer
        if consumer is None:
            if self._former is None:
                self._forget_deliveries()
            return
        if self._acks:
            deliveries = [held.delivery for held in self._acks if held.delivery is not None]
            if deliveries:
                consumer.ack(deliveries)
            self._acks = []
            self._started = []
        if self._rejects:
            consumer.reject(self._rejects, requeue=False)
            self._rejects = []
        if self._requeues:
            consumer.reject(self._requeues, requeue=True)
            self._requeues = []

    def _forget_deliveries(self) -> None:
        for each in self._acks:
            if isinstance(each, Held):
                self._remember(each.identity)
        for delivery in self._rejects:
            self._remember(identity(delivery.headers))
        self._acks, self._started, self._rejects, self._requeues = [], [], [], []

    def suspend(self, consumer: Consumer) -> None:
        """The connection is lost and the holds are not: acknowledgements wait for another one.

        Once the lease of this consumer may have run out, what follows from tasks that are not acknowledged waits as
        well, since others may have them by then.
        """
        self.consumer, self._former = None, consumer
        unsure = [*self._acks, *self.chords.held]
        self._unsure = [each for each in unsure if isinstance(each, Held) and each.plan.late and each.outcome]

    def resume(self, consumer: Consumer) -> None:
        """There is a connection again, and what is not held any more is forgotten."""
        self.consumer = consumer
        self._go_on()

    def _go_on(self) -> None:
        self._former, self._unsure = None, []
        outgoing, records = self._postponed.release()
        self._outgoing += outgoing
        self._records += records

    def _postpone(self) -> None:
        for held in self._unsure:
            if held.outcome is not None:
                self._postponed.keep(held, *self._take_outcome(held.outcome))
        self._unsure = []

    def lose(self, gone: Collection[Delivery], *, refuse: bool) -> None:
        """Forget messages that are held no longer.

        Args:
            refuse: drop also what was to follow from their tasks; else what comes again is known to have ended.
        """
        if refuse:
            self._postpone()
            self._outgoing += self._postponed.refuse(gone)
        for each in self._acks:
            if isinstance(each, Held) and each.delivery in gone:
                if not refuse:
                    self._remember(each.identity)
                elif self._drop_outcome(each.outcome):
                    tell_refused(each)
        for member in self.chords.lose(lambda held: held.delivery in gone, refuse=refuse):
            self._drop_outcome(member.outcome)
            tell_refused(member.held)
        for delivery in self._rejects:
            if delivery in gone and not refuse:
                self._remember(identity(delivery.headers))
        self._acks = [each for each in self._acks if each.delivery not in gone]
        self._started = [each for each in self._started if each.delivery not in gone]
        self._rejects = [each for each in self._rejects if each not in gone]
        self._requeues = [each for each in self._requeues if each not in gone]

    def _drop_outcome(self, outcome: TaskOutcome | None) -> bool:
        """Drop what was not handed over yet. Returns whether there was any."""
        if outcome is None:
            return False
        outgoing, records = self._take_outcome(outcome)
        kept = [each for each in outgoing if each.ends]
        self._outgoing += kept
        return len(outgoing) + len(records) > len(kept)

    def _take_outcome(self, outcome: TaskOutcome) -> tuple[list[Outgoing], list[Record]]:
        """Take out what was not handed over yet."""
        mine = set(map(id, outcome.outgoing))
        outgoing = [each for each in self._outgoing if id(each) in mine]
        records = [record for record in self._records if record is outcome.record]
        self._outgoing = [each for each in self._outgoing if id(each) not in mine]
        self._records = [record for record in self._records if record is not outcome.record]
        return outgoing, records

    def lost_connection(self) -> None:
        """The consumer is gone: what it held comes again, and what has ended is not run again here."""
        self.consumer = None
        self._go_on()
        self._forget_deliveries()
        for held in self.chords.held:
            held.delivery = None

    def _remember(self, which: Identity | None) -> None:
        if which is not None:
            self._ended_unacked[which] = None
            if len(self._ended_unacked) > _REMEMBERED:
                self._ended_unacked.popitem(last=False)

    def has_ended(self, which: Identity) -> bool:
        """Whether a task ended here whose acknowledgement was lost with a connection. Asking forgets it."""
        return self._ended_unacked.pop(which, self) is None


class _Bare:
    """A delivery that is nobody's task, in the list of acknowledgements."""

    __slots__ = ("delivery",)

    def __init__(self, delivery: Delivery) -> None:
        self.delivery: Delivery | None = delivery
