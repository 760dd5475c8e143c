"""The worker's loop: one thread that takes, runs and settles, in batches.

Each turn runs due timers, collects what the pool has done and settles it, takes as many messages as
there is room for, decides each from its headers, and hands the pool what it can run.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from time import monotonic
from typing import Any

from umbel.app.outcome import TaskOutcome, Verdict
from umbel.model import signals, states
from umbel.model.brief import brief
from umbel.model.exceptions import TaskRevokedError
from umbel.model.request import Context
from umbel.worker.dead_letter import dead_letter
from umbel.worker.dispatch import Dispatch, Fate
from umbel.worker.held import Held, Identity, identity
from umbel.worker.lost import Lost
from umbel.worker.settling import Settling
from umbel.worker.shutdown import Ending, Shutdown
from umbel.worker.timer import Timer
from umbel_kernel.errors import ContentError, UmbelError
from umbel_kernel.spi.broker import Broker, BrokerCapability, Consumer
from umbel_kernel.spi.message import Delivery
from umbel_kernel.spi.pool import Outcome, Pool, PoolCapability
from umbel_kernel.spi.topology import Queue

logger = logging.getLogger("umbel.worker.loop")

MOST = 1000
"""The most messages taken in one turn, and held while tasks are short."""

SHORT = 0.02
"""Seconds of work that may wait in the worker beyond its prefetch limit while tasks are short."""

PATIENCE = 10.0
"""Seconds that the end of a worker waits for a broker or a store that is away."""

_NO_USE_WAITING = 0.5
_START_POLL = 0.005
_LONGEST_WAIT = 60.0
_PARK = 5.0


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
        eta_limit: how many tasks whose time has not come to hold at the most; None for no limit.
        dead_letters: where to put what cannot be understood; None to drop it with an error in the log.
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
        dead_letters: Queue | None,
        lost: Lost,
        eta_limit: int | None = None,
    ) -> None:
        self.app = app
        self.hostname = hostname
        self.timer = timer
        self.pool = pool
        self.dispatch = dispatch
        self.settling = settling
        self.shutdown = shutdown
        self.multiplier = multiplier
        self.dead_letters = dead_letters
        self.eta_limit = eta_limit
        self.lost = lost
        self.consumer: Consumer | None = None
        self.broker: Broker | None = None
        self.ready: deque[Held] = deque()
        self.running: dict[int, Held] = {}
        self.later: dict[int, Held] = {}
        self.done = 0
        self._started = 0
        self._early = 0
        self._mean = 1.0
        self._parks = False

    # Facts for others; safe to read from any thread.

    def deliveries(self) -> list[Delivery]:
        """Every delivery that is held."""
        held = [*list(self.ready), *list(self.running.values()), *list(self.later.values())]
        mine = [each.delivery for each in held if each.delivery is not None and not each.acked]
        return [*mine, *self.settling.deliveries()]

    @property
    def idle(self) -> bool:
        """Whether nothing runs, waits to run, or waits to be settled."""
        return not (self.running or self.ready or len(self.settling))

    # The connection

    def attach(self, broker: Broker, consumer: Consumer) -> None:
        """Begin to read from a consumer."""
        self.broker, self.consumer = broker, consumer
        self._parks = BrokerCapability.DELAY in broker.capabilities
        self.settling.consumer = consumer

    def detach(self) -> None:
        """The consumer is gone: what has not begun is forgotten, for it comes again; what runs goes on."""
        self.consumer = None
        withdrawn = set(self.pool.withdraw(list(self.running)))
        for job_id in withdrawn:
            self._forget(self.running.pop(job_id))
        self.ready.clear()
        self.later.clear()
        self.settling.lost_connection()
        for held in self.running.values():
            held.delivery = None

    # The turn

    def run(self) -> None:
        """Turn until the worker is to end.

        Raises:
            OperationalError: the consumer's connection is lost; call ``detach``.
        """
        while self.shutdown.ending is Ending.NONE:
            self.turn()

    def turn(self) -> None:
        """One turn."""
        consumer = self.consumer
        assert consumer is not None
        wait = self.timer.run_due()
        self.collect()
        if self.ready:
            self.feed()
        deliveries = consumer.receive(self.room(), self._timeout(wait))
        if deliveries:
            self.accept(deliveries)
            self.feed()
            if len(self.settling):
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

    def room(self) -> int:
        """How many messages to take now."""
        if self.shutdown.ending is not Ending.NONE:
            return 0
        most = MOST
        if self.eta_limit is not None:
            most = min(most, self.eta_limit - len(self.later))
        settling = len(self.settling)
        if not self.multiplier:
            return max(most - settling, 0)
        size = self.pool.size
        limit = self.multiplier * size
        if self.multiplier > 1:
            limit = max(limit, size + self._while_short())
        return max(min(min(limit, MOST) - len(self.ready) - len(self.running) - settling, most), 0)

    def _while_short(self) -> int:
        """How many tasks of the length seen of late are done within ``SHORT`` seconds by all slots together."""
        return int(SHORT * self.pool.size / max(self._mean, 1e-6))

    def _timeout(self, timer: float | None) -> float:
        timeout = _LONGEST_WAIT if timer is None else min(timer, _LONGEST_WAIT)
        check = self.pool.next_check()
        if check is not None:
            timeout = min(timeout, check)
        again = self.settling.retry_in
        if again is not None:
            timeout = min(timeout, again)
        # A job acknowledged when it starts is looked for soon, as long as there is a slot for it to start in.
        if self._early and self._started < self.pool.size:
            timeout = min(timeout, _START_POLL)
        return max(timeout, 0.0)

    def collect(self) -> None:
        """Settle what the pool has done since the last turn."""
        collected = self.pool.collect()
        running, settling = self.running, self.settling
        for job_id in collected.started:
            held = running.get(job_id)
            if held is not None and not held.started:
                held.started = True
                self._started += 1
                if not held.plan.late:
                    self._early -= 1
                    settling.ack_start(held)
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
        if len(settling):
            settling.flush()

    def _finish(self, held: Held, outcome: Outcome) -> None:
        if outcome.error is not None:
            self.lost.settle(held, outcome.error)
            return
        ended = TaskOutcome.unpack(outcome.value, self.app.queues)
        self._mean += (min(ended.runtime, 1.0) - self._mean) * 0.05
        if ended.verdict is Verdict.DEAD:
            if ended.record is not None:
                self.settling.store(ended.record)
            if held.received is not None:
                self._bury(held.received, ended.text)
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
        for delivery in deliveries:
            if delivery.redelivered:
                if here is None:
                    here = {held.identity: held for held in (*self.later.values(), *ready, *self.running.values())}
                if self._known(delivery, here):
                    continue
            try:
                fate, held, fact = decide(delivery)
            except Exception as error:
                logger.exception("a message cannot be decided")
                fate, held, fact = Fate.DEAD, None, UmbelError(f"{type(error).__name__}: {brief(error)}")
            if fate is Fate.RUN and held is not None:
                ready.append(held)
            elif held is None:
                self._dead(delivery, fact)
            elif fate is Fate.LATER:
                self._later(held, fact)
            else:
                self._cancelled(held, fate)

    def _known(self, delivery: Delivery, here: dict[Identity | None, Held]) -> bool:
        """Whether a delivery that comes again is of a task that is here or has just ended here."""
        which = identity(delivery.headers)
        if which is None:
            return False
        held = here.get(which)
        if held is None:
            if not self.settling.has_ended(which):
                return False
            self.settling.ack_delivery(delivery)
        elif held.acked:
            self.settling.has_ended(which)
            self.settling.ack_delivery(delivery)
        else:
            # Its lease ran out, or its connection was lost, while the task waited or ran here: this hold is the
            # good one. An earlier one that is good as well is of a message that was sent twice.
            earlier, held.delivery = held.delivery, delivery
            if earlier is not None:
                self.settling.ack_delivery(earlier)
        return True

    def _dead(self, delivery: Delivery, error: UmbelError) -> None:
        """A message that cannot be understood: say so, tell the caller where there is an id, keep the message."""
        headers = delivery.headers
        task_id, name = headers.get("id"), headers.get("task")
        reason = f"{type(error).__name__}: {error}"
        if isinstance(name, str) and name not in self.app.tasks:
            logger.error(
                "Received unregistered task of type %r.\nThe message goes to %s.\n"
                "Is the module that defines it imported (see 'include'), "
                "and is the name relative to the right package?\n"
                "The full contents of the message headers was:\n%s",
                name,
                self._where_dead(),
                brief(headers, 500),
            )
            signals.task_unknown.send(sender=self, message=delivery, exc=error, name=name, id=task_id)
        else:
            logger.error(
                "Received a message that is no task of ours: %s\nThe message goes to %s. "
                "queue: %s content type: %r size: %d headers: %s",
                reason,
                self._where_dead(),
                delivery.queue,
                delivery.content_type,
                len(delivery.body),
                brief(headers, 500),
            )
            signals.task_rejected.send(sender=self, message=delivery, exc=error)
        if isinstance(task_id, str) and task_id and not headers.get("ignore_result"):
            self._store(task_id, states.FAILURE, error, delivery)
        self._bury(delivery, reason)
        self.settling.ack_delivery(delivery)

    def _where_dead(self) -> str:
        return f"the queue {self.dead_letters.name!r}" if self.dead_letters is not None else "nowhere, it is dropped"

    def _bury(self, delivery: Delivery, reason: str) -> None:
        if self.dead_letters is not None:
            self.settling.publish([dead_letter(delivery, reason, queue=self.dead_letters, hostname=self.hostname)])

    def _store(self, task_id: str, state: str, error: Exception, delivery: Delivery | None) -> None:
        request = Context(
            id=task_id,
            hostname=self.hostname,
            reply_to=delivery.reply_to if delivery is not None else None,
        )
        try:
            self.settling.store(self.app.backend.record(task_id, state, error, request=request))
        except ContentError as problem:
            logger.error("cannot store what became of task %s: %s", task_id, problem)

    def _later(self, held: Held, due: datetime) -> None:
        seconds = max((due - datetime.now(UTC)).total_seconds(), 0.0)
        if self._parks and seconds > _PARK and held.delivery is not None and self.consumer is not None:
            self.consumer.reject([held.delivery], requeue=True, delay=seconds)
            return
        self.later[held.job.id] = held
        self.timer.call_after(seconds, self._due, held.job.id)

    def _due(self, job_id: int) -> None:
        held = self.later.pop(job_id, None)
        if held is not None:
            self.ready.append(held)

    def _cancelled(self, held: Held, fate: Fate) -> None:
        expired = fate is Fate.EXPIRED
        logger.info("Discarding revoked task: %s[%s]%s", held.name, held.task_id, " (expired)" if expired else "")
        self.lost.revoked(held, TaskRevokedError("expired" if expired else "revoked"))
        signals.task_revoked.send(
            sender=self.app.tasks[held.name], request=held, terminated=False, signum=None, expired=expired
        )
        self.settling.ack(held)

    def feed(self) -> None:
        """Hand the pool what it can run soon."""
        size = self.pool.size
        count = size + min(self._while_short(), MOST) - len(self.running)
        if count <= 0:
            return
        jobs = []
        for _ in range(min(count, len(self.ready))):
            held = self.ready.popleft()
            fate = self.dispatch.fate(held)
            if fate is not Fate.RUN:
                self._cancelled(held, fate)
                continue
            self.running[held.job.id] = held
            if not held.plan.late:
                self._early += 1
            jobs.append(held.job)
        if jobs:
            self.pool.submit(jobs)

    def revoke(self, task_ids: Sequence[str], *, terminate: bool, signal: str = "TERM") -> None:
        """Take these tasks back from the pool where they have not begun.

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
        for job_id, held in found.items() if terminate else ():
            try:
                self.pool.cancel(job_id, signal)
            except UmbelError as error:
                logger.warning("cannot end task %s[%s]: %s", held.name, held.task_id, error)

    # The end

    def give_back(self) -> int:
        """Give back to the broker all that has not begun. Returns how many."""
        withdrawn = [self.running.pop(job_id) for job_id in self.pool.withdraw(list(self.running))]
        for held in withdrawn:
            self._forget(held)
        waiting = [*self.ready, *self.later.values(), *withdrawn]
        self.ready.clear()
        self.later.clear()
        for held in waiting:
            if held.delivery is not None and not held.acked:
                self.settling.reject(held.delivery, requeue=True)
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
            if not (self.running or self.ready):
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
            if held.acked and not held.ignores_result:
                self._store(held.task_id, states.FAILURE, reason, held.received)
        ends = (
            PoolCapability.TERMINATE in self.pool.capabilities or PoolCapability.MAIN_THREAD in self.pool.capabilities
        )
        self.pool.terminate(timeout=5.0 if ends else _NO_USE_WAITING)
