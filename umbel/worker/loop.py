"""The worker's loop: one thread that takes, runs and settles, in batches.

Each turn runs due timers, collects what the pool has done and settles it, takes as many messages as
there is room for, decides each from its headers, and hands the pool what it can run.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import Any

from umbel.app.outcome import TaskOutcome, Verdict
from umbel.model.brief import brief
from umbel.model.exceptions import TaskRevokedError
from umbel.worker import request as requests
from umbel.worker.chords import PARTS
from umbel.worker.dispatch import Dispatch, Fate
from umbel.worker.held import Held, Identity
from umbel.worker.holds import Holds
from umbel.worker.lead import Lead
from umbel.worker.lost import Lost
from umbel.worker.pace import LONG, Pace
from umbel.worker.rates import Rates
from umbel.worker.recall import Recall
from umbel.worker.refusing import Refusing
from umbel.worker.room import Room
from umbel.worker.settling import Settling
from umbel.worker.shutdown import Ending, Shutdown
from umbel.worker.suspects import Suspects
from umbel.worker.timer import Timer
from umbel.worker.waiting import Waiting
from umbel_kernel.errors import Terminated, UmbelError, WorkerLostError
from umbel_kernel.spi.broker import Broker, Consumer
from umbel_kernel.spi.message import Delivery
from umbel_kernel.spi.pool import Job, Outcome, Pool, PoolCapability

logger = logging.getLogger("umbel.worker.loop")

PATIENCE = 10.0
"""Seconds that the end of a worker waits for a broker or a store that is away."""

_ACK = Verdict.ACK.value
_NO_USE_WAITING = 0.5
_START_POLL = 0.005
_LONGEST_WAIT = 60.0


class Loop:
    """Moves tasks between a consumer and a pool.

    Args:
        app: the app.
        hostname: the worker's name.
        timer: runs in this loop.
        pool: open.
        dispatch: decides deliveries.
        settling: does what follows.
        shutdown: says when to end.
        multiplier: how many tasks to hold for each slot of the pool while they are long; 1 for no more than can run
            however short they are, 0 for no limit.
        lost: settles tasks whose process is lost.
        refusing: puts aside what cannot be understood.
        eta_limit: how many tasks whose time has not come to hold at the most; None for no limit.
        lead: lets threads of the pool turn this loop; None when the pool has none that do.
    """

    def __init__(
        self,
        app: Any,
        hostname: str,
        *,
        timer: Timer,
        pool: Pool,
        dispatch: Dispatch,
        settling: Settling,
        shutdown: Shutdown,
        multiplier: int,
        lost: Lost,
        refusing: Refusing,
        eta_limit: int | None = None,
        lead: Lead | None = None,
    ) -> None:
        self.app = app
        self.hostname = hostname
        self.timer = timer
        self.pool = pool
        self.dispatch = dispatch
        self.settling = settling
        settling.chords.wake = self.wake
        self.shutdown = shutdown
        self.refusing = refusing
        self.lost = lost
        self.lead = lead
        self.holds = Holds(self)
        self.consumer: Consumer | None = None
        self.broker: Broker | None = None
        self.ready: deque[Held] = deque()
        self.running: dict[int, Held] = {}
        self.later: dict[int, Held] = {}
        self.waiting = Waiting(self)
        self.recall = Recall(self, dispatch.revoked)
        self.rates = Rates(self)
        self.suspects = Suspects(self)
        self.room = Room(self, multiplier, eta_limit)
        self._started = 0
        self._early = 0
        self.pace = Pace()
        self.done = 0

    # Facts for others; safe to read from any thread.

    def deliveries(self) -> list[Delivery]:
        """Every delivery that is held."""
        held = [*list(self.ready), *list(self.running.values()), *list(self.later.values())]
        mine = [each.delivery for each in held if each.delivery is not None and not each.acked]
        return [*mine, *self.settling.deliveries()]

    @property
    def busy(self) -> bool:
        """Whether something runs or waits to run."""
        return bool(self.running or self.ready)

    @property
    def wants_other(self) -> bool:
        """Whether another thread should lead at once when one runs a job: slots are free, and tasks are long."""
        return self.pace.mean > LONG and 0 < len(self.running) < self.pool.size

    @property
    def idle(self) -> bool:
        """Whether nothing runs, waits to run, or waits to be settled."""
        return not (self.running or self.ready or len(self.settling))

    def wake(self) -> None:
        """End whatever waits here. Callable from any thread and from a signal handler."""
        self.nudge()
        if self.lead is not None:
            self.lead.ring()

    def nudge(self) -> None:
        """End the turn that waits."""
        consumer = self.consumer
        if consumer is not None:
            consumer.wake()

    # The connection

    def attach(self, broker: Broker, consumer: Consumer) -> None:
        """Begin to read from a consumer, or go on with what is held after a lost connection.

        Raises:
            OperationalError: the connection is lost again.
        """
        self.broker, self.consumer = broker, consumer
        self.pool.watched(consumer.watch)
        self.waiting.attach(broker)
        self.holds.resume(consumer)
        self.settling.resume(consumer)

    def detach(self, *, resumes: bool = True) -> None:
        """The connection is lost: what has not begun is forgotten, for it comes again; what runs goes on.

        Where holds outlive a connection and there will be another (``resumes``), all that is held stays.
        """
        consumer, self.consumer = self.consumer, None
        self.pool.watched(_watches_nothing)
        if resumes and self.holds.suspend(consumer):
            return
        self.holds.drop()
        self.withdraw(list(self.running))
        self.ready.clear()
        self.later.clear()
        self.settling.lost_connection()
        for held in self.running.values():
            held.delivery = None

    def withdraw(self, job_ids: Sequence[int]) -> list[Held]:
        """Take jobs back from the pool that have not begun. Returns them."""
        withdrawn = [self.running.pop(job_id) for job_id in self.pool.withdraw(job_ids)]
        for held in withdrawn:
            self._forget(held)
        return withdrawn

    # The turn

    def run(self) -> None:
        """Turn until the worker is to end.

        Raises:
            OperationalError: the consumer's connection is lost; call ``detach``.
        """
        if self.lead is not None:
            self.lead.run(self, lambda: self.pool.submit(()))
        while self.shutdown.ending is Ending.NONE:
            self.turn()

    def turn(self, *, leads: bool = False) -> None:
        """One turn. Who ``leads`` runs jobs himself, so it does not wait for messages where there are some."""
        consumer = self.consumer
        assert consumer is not None
        wait = self.timer.run_due()
        hurried = self.collect(hurries=not leads)
        if self.ready or self.rates.due or self.suspects:
            self.feed()
        room = self.room.free() if self.shutdown.ending is Ending.NONE else 0
        timeout = self._timeout(wait)
        if leads and len(self.running) > self._started:
            if not room:
                return
            timeout = 0.0
        deliveries = consumer.receive(room, 0.0 if hurried else timeout)
        if deliveries:
            self.accept(deliveries)
            self.feed()
        else:
            self.waiting.ahead = 0
        if (deliveries or hurried) and len(self.settling):
            self.settling.flush()

    def idle_turn(self, timeout: float, wait: Callable[[float], None]) -> None:
        """A turn without a consumer: timers, outcomes and the pool go on.

        Args:
            timeout: at most so many seconds.
            wait: waits, and is ended by the worker's wake-up.
        """
        due = self.timer.run_due()
        self.collect()
        self.feed()
        wait(min(timeout, self._timeout(due)))

    def hand_back(self, waiting: Iterable[Held]) -> None:
        """Give these back to the broker."""
        for held in waiting:
            if held.delivery is not None and not held.acked:
                self.settling.reject(held.delivery, requeue=True)

    def _timeout(self, timer: float | None) -> float:
        timeout = _LONGEST_WAIT if timer is None else min(timer, _LONGEST_WAIT)
        check = self.pool.next_check()
        if check is not None:
            timeout = min(timeout, check)
        again = self.settling.retry_in
        if again is not None:
            timeout = min(timeout, again)
        if self.room.exceeded:
            timeout = min(timeout, self.pace.stalls_in())
        # A job acknowledged when it starts is looked for soon, as long as there is a slot for it to start in.
        if self._early and self._started < self.pool.size:
            timeout = min(timeout, _START_POLL)
        return max(timeout, 0.0)

    def collect(self, *, hurries: bool = False) -> bool:
        """Settle what the pool has done since the last turn.

        Args:
            hurries: when only a few tasks have ended, just publish what follows from them, since the next of a chain
                may be taken and run here while results are stored.

        Returns:
            Whether it did so, and the rest is still to be settled.

        Raises:
            OperationalError: the consumer's connection is lost.
        """
        self.holds.check()
        collected = self.pool.collect()
        running, settling = self.running, self.settling
        # What has ended first: then a short task is noted once instead of twice.
        for outcome in collected.finished:
            held = running.pop(outcome.job_id, None)
            if held is not None:
                self._forget(held)
                self.done += 1
                try:
                    self._finish(held, outcome)
                except Exception:
                    # Its message stays unacknowledged, so that the task is run again after this worker's end.
                    logger.exception("what task %s[%s] came to cannot be settled", held.name, held.task_id)
        for job_id in collected.started:
            held = running.get(job_id)
            if held is not None and not held.started:
                held.started = True
                self._started += 1
                if held.request is not None:
                    requests.begun(held.request)
                if not held.plan.late:
                    self._early -= 1
                    settling.ack_start(held)
        if collected.finished or not self.running:
            self.pace.move()
        else:
            self.room.shed()
        if len(settling):
            if hurries and len(settling) <= self.pool.size and settling.hurry():
                return True
            settling.flush()
        return False

    def _finish(self, held: Held, outcome: Outcome) -> None:
        if held.request is not None:
            requests.ended(held.request, outcome)
        if held.refused:
            self.holds.refuse(held, outcome)
            return
        if outcome.error is not None:
            if self.shutdown.ending is Ending.COLD and isinstance(outcome.error, WorkerLostError | Terminated):
                # The end itself has cut it off: what becomes of it ``abandon`` knows.
                self.running[held.job.id] = held
            else:
                self.lost.settle(held, outcome.error)
            return
        packed = outcome.value
        if packed[5] == _ACK and packed[6] is packed[7] is None and PARTS not in held.job.context:
            self.pace.ended(packed[3])
            (self.settling.ack if held.plan.late else self.settling.ack_start)(held)
            return
        ended = TaskOutcome.unpack(packed, self.app.queues)
        self.pace.ended(ended.runtime)
        if ended.verdict is Verdict.DEAD:
            if ended.record is not None:
                self.settling.store(ended.record)
            if held.received is not None:
                self.refusing.bury(held.received, ended.text)
            self.settling.ack(held)
            return
        self.settling.settle(held, ended)

    def _forget(self, held: Held) -> None:
        if held.started:
            self._started -= 1
        elif not held.plan.late:
            self._early -= 1

    def accept(self, deliveries: list[Delivery]) -> None:
        """Decide what to do with deliveries."""
        decide, ready = self.dispatch.decide, self.ready
        here: dict[Identity | None, Held] | None = None
        again: list[Held] = []
        come: list[Held] | None = [] if self.recall.active else None
        for delivery in deliveries:
            if delivery.redelivered:
                if here is None:
                    others = (*self.later.values(), *ready, *self.running.values(), *self.settling.chords.held)
                    here = {held.identity: held for held in others}
                if self.holds.knows(delivery, here):
                    continue
            try:
                fate, held, fact = decide(delivery)
            except Exception as error:
                logger.exception("a message cannot be decided")
                fate, held, fact = Fate.DEAD, None, UmbelError(f"{type(error).__name__}: {brief(error)}")
            if come is not None and held is not None:
                come.append(held)
            if fate is Fate.RUN and held is not None:
                (again if delivery.redelivered and self.suspects.enabled else ready).append(held)
            elif held is None:
                self.refusing.refuse(delivery, fact)
            elif fate is Fate.LATER:
                self.waiting.add(held, fact)
            else:
                self._cancelled(held, fate)
        if come:
            self.recall.look(come)
        if again:
            self.suspects.admit(again)
        self.waiting.flush(len(deliveries))

    def _cancelled(self, held: Held, fate: Fate) -> None:
        expired = fate is Fate.EXPIRED
        logger.info("Discarding revoked task: %s[%s]%s", held.name, held.task_id, " (expired)" if expired else "")
        self.lost.revoked(held, TaskRevokedError("expired" if expired else "revoked"), expired=expired)
        self.settling.ack(held)

    def feed(self) -> None:
        """Hand the pool what it can run soon; nothing while it is not sure that it is still held."""
        if self.consumer is None:
            return
        self.holds.check()
        size, suspects = self.pool.size, self.suspects
        # While some wait whose beginning is noted, nothing is handed over that only waits in the pool.
        count = size - len(self.running) + (0 if suspects else self.pace.ahead(size))
        if count <= 0:
            return
        if not self.running:
            self.pace.move()
        if suspects:
            self.ready.extendleft(reversed(suspects.begin(count - len(self.rates.due))))
        jobs: list[Job] = []
        ready, rates = self.ready, self.rates
        limited, due = rates.lines, rates.due
        while len(jobs) < count:
            held = rates.pick() if due else None
            if held is None:
                if not ready:
                    break
                held = ready.popleft()
            fate = self.dispatch.fate(held)
            if fate is not Fate.RUN:
                self._cancelled(held, fate)
                continue
            if limited and not rates.lets(held):
                continue
            self.running[held.job.id] = held
            if not held.plan.late:
                self._early += 1
            jobs.append(held.job)
        if jobs:
            self.pool.submit(jobs)

    def revoke(self, task_ids: Sequence[str], *, terminate: bool, signal: str = "TERM") -> None:
        """Take these tasks back from the pool where they have not begun; those that run can see it.

        Args:
            terminate: also end those that run, where the pool can.
            signal: by which signal.
        """
        wanted = set(task_ids)
        found = {job_id: held for job_id, held in self.running.items() if held.task_id in wanted}
        for job_id in self.pool.withdraw(list(found)) if found else ():
            held = found.pop(job_id)
            self._forget(self.running.pop(job_id))
            self._cancelled(held, Fate.REVOKED)
        for job_id, held in found.items():
            self._unwanted(held)
            if not terminate:
                continue
            held.signal = signal
            try:
                self.pool.cancel(job_id, signal)
            except UmbelError as error:
                logger.warning("cannot end task %s[%s]: %s", held.name, held.task_id, error)

    def _unwanted(self, held: Held) -> None:
        """Let a task that runs know that nobody wants it any more, if it asks."""
        held.job.cancelled = True
        self.pool.flag(held.job.id)

    # The end

    def give_back(self) -> int:
        """Give back to the broker all that has not begun. Returns how many."""
        waiting = [*self.ready, *self.later.values(), *self.withdraw(list(self.running))]
        self.ready.clear()
        self.later.clear()
        self.hand_back(waiting)
        return len(waiting)

    def drain(self, wait: Callable[[float], None]) -> None:
        """Turn until everything that runs has ended and is settled, or a colder end is asked for.

        A broker or a store that is away is waited for no longer than ``PATIENCE`` seconds after the last task.

        Args:
            wait: used while there is no consumer.
        """
        end = None
        while not self.idle and self.shutdown.ending is not Ending.COLD:
            due = self.timer.run_due()
            self.collect()
            if self.idle:
                break
            timeout = self._timeout(due)
            if not (self.running or self.ready or self.settling.chords.under_way):
                now = monotonic()
                end = end or now + PATIENCE
                if now >= end:
                    break
                timeout = min(timeout, end - now)
            if self.consumer is not None:
                self.consumer.receive(0, timeout)
            else:
                wait(timeout)
            self.feed()

    def abandon(self, reason: Exception) -> None:
        """At a cold end: end what runs, and tell the callers of those tasks that nobody will run again.

        The pool is ended here, before the messages of what ran go back, so that no two workers run one task.
        """
        self.collect()
        for held in self.running.values():
            self._unwanted(held)
            if held.acked and not held.ignores_result:
                self.refusing.tell(held.task_id, reason, held.received)
        ends = (
            PoolCapability.TERMINATE in self.pool.capabilities or PoolCapability.MAIN_THREAD in self.pool.capabilities
        )
        self.pool.terminate(timeout=5.0 if ends else _NO_USE_WAITING)


def _watches_nothing(file: int) -> bool:
    """Who is there while there is no consumer."""
    return False
