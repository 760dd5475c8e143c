"""The pool of forked processes."""

from __future__ import annotations

import gc
import logging
import marshal
import math
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, ClassVar

from umbel_kernel.errors import PoolError, Terminated, TimeLimitExceeded, WorkerLostError
from umbel_kernel.spi.pool import Collected, Job, Outcome, Pool, PoolCapability, PoolOptions
from umbel_pool_prefork.backlog import Backlog
from umbel_pool_prefork.brood import Brood
from umbel_pool_prefork.death import signal_number
from umbel_pool_prefork.facts import facts
from umbel_pool_prefork.farewell import Farewell
from umbel_pool_prefork.frame import Said
from umbel_pool_prefork.nursery import Nursery
from umbel_pool_prefork.pace import AHEAD
from umbel_pool_prefork.slot import BEGUN, REPRIEVE, SILENCE, Slot

logger = logging.getLogger(__name__)

FAREWELL = 10.0
"""Seconds that a child which leaves in good order has for ``finalize`` before it is killed."""


class PreforkPool(Pool):
    """Runs jobs in child processes that are forked from a server, itself forked from this process by ``open``.

    Each child has a socket pair and a page of shared memory of its own, and no lock or pipe that it shares with
    another: no child can harm its siblings, whenever and however it dies. The parent never waits for a child.

    *Staging.* A job goes to an idle child at once. Under load up to ``pace.DEEPEST`` jobs are staged in a child, as
    many as take ``pace.AHEAD`` seconds, and two up to ``pace.PAIRED``. When the running one takes longer, those behind
    it are taken back and go to whichever child is free first.

    *Deaths.* The outcomes that a dead child has written are read first. The job that it ran gets ``WorkerLostError``,
    or ``TimeLimitExceeded`` or ``Terminated`` when the pool killed it for that; its staged jobs go to others. A new
    child is forked at once. If children die before they are ready ``nursery.STILLBORN_LIMIT`` times in a row, the pool
    is broken and ``collect`` raises ``PoolError`` from then on. ``PoolOptions.lost_wait`` is not needed: what a dead
    process wrote can be read as soon as it is dead. When the fork server dies, its children are killed with it; a new
    server is forked, and all goes on as after the death of each of them.

    *What a job raises that it should not.* ``SystemExit`` and other exits end the job alone, with ``WorkerLostError``;
    any other exception gives a ``PoolError``; a result that ``marshal`` cannot carry gives a ``PoolError``. The child
    lives on.

    *Time limits* are enforced in ``collect`` from the moment the job began: the soft one by ``SIGUSR1``, whose handler
    raises only in the job that was meant, the hard one by ``SIGKILL``.
    """

    capabilities: ClassVar[frozenset[PoolCapability]] = frozenset(
        {
            PoolCapability.SOFT_TIME_LIMIT,
            PoolCapability.HARD_TIME_LIMIT,
            PoolCapability.TERMINATE,
            PoolCapability.RECYCLE,
            PoolCapability.RESIZE,
            PoolCapability.PROCESSES,
        }
    )

    def __init__(self) -> None:
        self._options = PoolOptions()
        self._target = 0
        self._brood = Brood()
        self._backlog = Backlog()
        self._nursery: Nursery | None = None
        self._refused: list[Outcome] = []
        self._closed = False
        self._frozen = False
        self._watched = False

    def open(self, size: int, execute: Callable[[Job], Any], wake: Callable[[], None], options: PoolOptions) -> None:
        """Fork the server, which forks the children. Does not wait until they are there.

        Raises:
            PoolError: the size is no positive number, or the system refuses.
        """
        if size < 1:
            raise PoolError(f"a pool of {size} processes cannot run anything; give a concurrency of at least 1")
        self._options = options = replace(
            options,
            max_jobs_per_child=options.max_jobs_per_child or None,
            max_memory_per_child=options.max_memory_per_child or None,
        )
        self._nursery = nursery = Nursery(execute, options, self._brood.abandon)
        gc.collect()
        gc.freeze()
        self._frozen = True
        try:
            nursery.prepare()
            watcher = self._brood.watch_over(wake)
            self.grow(size)
        except PoolError:
            self.terminate(timeout=1.0)
            raise
        watcher.start()

    @property
    def size(self) -> int:
        """How many jobs can run at once."""
        return self._target

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take jobs to run.

        Raises:
            PoolError: the pool is closed or broken.
        """
        if self._closed or self._nursery is None:
            raise PoolError("the pool of processes is not open and takes no jobs")
        if self._nursery.broken is not None:
            raise self._nursery.broken
        self._backlog.add(jobs)
        self._assign()

    def withdraw(self, job_ids: Sequence[int]) -> list[int]:
        """Take back jobs that have not begun, also those that a child holds already."""
        taken = self._backlog.withdraw(job_ids)
        wanted = set(job_ids).difference(taken)
        for slot in self._brood.working:
            if wanted and any(job.id in wanted for job in slot.staged.values()):
                reclaimed = slot.reclaim()
                found = [job.id for job in reclaimed if job.id in wanted]
                self._backlog.put_back([job for job in reclaimed if job.id not in wanted])
                wanted.difference_update(found)
                taken += found
        self._assign()
        return taken

    def collect(self) -> Collected:
        """What has happened since the last call.

        Raises:
            PoolError: children cannot be brought to life; says why the last one died.
        """
        collected = Collected()
        nursery, watcher = self._nursery, self._brood.watcher
        if nursery is None or watcher is None:
            return collected
        if nursery.broken is not None:
            raise nursery.broken
        collected.finished, self._refused = self._refused, collected.finished
        for slot in self._brood.ready():
            self._read(slot, collected)
        self._hear(nursery, collected)
        now, patience = time.monotonic(), self._patience()
        for slot in self._brood:
            self._look(slot, now, patience, collected)
        self._replace(nursery, now)
        self._assign()
        # A thread in between lets reports of short jobs gather, while many are staged.
        alone = self._watched and all(len(slot.staged) < 2 for slot in self._brood.working)
        watcher.let(alone)
        if not alone:
            watcher.arm()
        return collected

    def watched(self, by: Callable[[int], bool]) -> bool:
        """See ``Pool.watched``. While few jobs are staged, the watcher's thread then keeps still, and a report costs no
        change of threads."""
        watcher = self._brood.watcher
        file = watcher.descriptor if watcher is not None else None
        self._watched = file is not None and by(file)
        return self._watched

    def next_check(self) -> float | None:
        """Seconds until a limit is up, a job may have begun, or a child is to be looked after."""
        nursery = self._nursery
        if nursery is None:
            return None
        if nursery.broken is not None or self._refused or (nursery.forker is not None and nursery.forker.heard):
            return 0.0
        now = time.monotonic()
        alive, patience = self._options.alive_timeout, self._patience()
        due = min((slot.due(now, alive, patience) for slot in self._brood), default=math.inf)
        if self._wanting():
            due = min(due, nursery.due)
        return None if due == math.inf else max(0.0, due - now)

    def cancel(self, job_id: int, signal: str = "TERM") -> bool:
        """End a running job by a signal to its process. A job that catches or ignores the signal is not ended by it.

        Raises:
            PoolError: there is no such signal.
        """
        try:
            number = signal_number(signal)
        except ValueError as error:
            raise PoolError(f"job {job_id} cannot be cancelled: {error}") from error
        slot, begun = self._brood.running(job_id)
        return slot is not None and self._condemn(
            slot, begun, Terminated(f"job {job_id} was ended by {signal}"), number
        )

    def flag(self, job_id: int) -> bool:
        """Tell a running job that nobody wants it, by a word in the memory that its child shares."""
        slot, begun = self._brood.running(job_id)
        if slot is not None:
            slot.stamp.unwanted = begun
        return slot is not None

    def grow(self, count: int = 1) -> None:
        """Have more children forked. Does not wait until they are there.

        Raises:
            PoolError: the pool is closed, or the system refuses.
        """
        if self._closed or self._nursery is None:
            raise PoolError("the pool of processes is not open and cannot grow")
        for _ in range(count):
            self._add(self._nursery)
            self._target += 1

    def shrink(self, count: int = 1) -> None:
        """Let children leave: idle ones now, others after the job they run.

        Raises:
            PoolError: no child would stay.
        """
        if count >= self._target:
            raise PoolError(f"a pool of {self._target} processes cannot shrink by {count}: one must stay")
        self._target -= count
        surplus = len(self._brood.working) - self._target
        for slot in sorted(self._brood.working, key=lambda slot: len(slot.staged))[: max(0, surplus)]:
            self._backlog.put_back(slot.reclaim())
            slot.dismiss()
            self._brood.part(slot)
        self._assign()

    def info(self) -> dict[str, Any]:
        """Facts for people and remote control."""
        return facts(self._target, self._options, self._brood, self._backlog)

    def close(self) -> None:
        """Take no more jobs."""
        self._closed = True

    def terminate(self, *, timeout: float = 5.0) -> None:
        """End all children: idle ones in good order, busy ones by ``SIGTERM``, and after the timeout by ``SIGKILL``."""
        self._closed = True
        self._target = 0
        self._backlog.clear()
        Farewell(
            list(self._brood),
            self._nursery,
            read=lambda slot, whole: self._read(slot, Collected(), math.inf if whole else None),
            hear=lambda nursery: self._hear(nursery, Collected()),
        ).say(timeout)
        nursery, self._nursery = self._nursery, None
        if nursery is not None:
            nursery.lose()
        self._brood.close()
        if self._frozen:
            self._frozen = False
            gc.unfreeze()

    # What children say

    def _read(self, slot: Slot, collected: Collected, limit: float | None = None) -> None:
        """Take in what a child has written; write to it what it takes."""
        if slot.backlogged:
            slot.flush()
            self._brood.watch(slot)
        total, count, staged = 0.0, 0, slot.staged
        skipped: list[Job] = []
        for _, payload in slot.receive() if limit is None else slot.receive(limit):
            said, number, value, seconds = marshal.loads(payload)
            if said <= Said.LOST:
                job = staged.pop(number, None)
                if job is None:
                    logger.error("child %d reported a job %d that it was not given", slot.pid, number)
                    continue
                if number > slot.told:
                    slot.told = number
                    collected.started.append(job.id)
                collected.finished.append(_outcome(job.id, said, value))
                total += seconds
                count += 1
            elif said == Said.SKIPPED:
                job = staged.pop(number, None)
                if job is not None:
                    skipped.append(job)
            else:
                self._note(slot, said, number, value)
        self._backlog.put_back(skipped)
        if count:
            slot.done += count
            slot.touched = time.monotonic()
            self._backlog.pace.add(total, count)
        if slot.mute and not slot.ended:
            self._mute(slot, collected)

    def _note(self, slot: Slot, said: int, number: int, value: Any) -> None:
        if said == Said.UP:
            # The child may be quicker to say that than the server.
            slot.up, slot.pid = True, number
        elif said == Said.READY:
            slot.ready = True
            if self._nursery is not None:
                self._nursery.thrives()
        elif said == Said.BROKEN:
            slot.complaint = value
        elif said == Said.LEAVING:
            slot.leaving = True
            self._backlog.put_back(slot.reclaim())
            self._brood.part(slot)

    def _mute(self, slot: Slot, collected: Collected) -> None:
        """A child's socket has ended. Its process is ending too, or its job has closed the socket."""
        if slot.orphan:
            self._bury(slot, None, collected)
            return
        self._brood.unwatch(slot.connection.fileno())
        if slot.deadline is None:
            slot.deadline = time.monotonic() + (FAREWELL if slot.leaving else SILENCE)

    # What the fork server says

    def _hear(self, nursery: Nursery, collected: Collected) -> None:
        """Take in which children were born and which have ended."""
        forker = nursery.forker
        if forker is None:
            return
        for said, number, value in forker.receive():
            slot = self._brood.numbered(number)
            if slot is None:
                continue
            if said == Said.BORN:
                slot.pid = value
            elif said == Said.BARREN:
                slot.complaint = value
                self._bury(slot, None, collected)
            elif said == Said.ENDED:
                self._bury(slot, value, collected)
        if forker.lost:
            self._orphan(nursery, collected)

    def _orphan(self, nursery: Nursery, collected: Collected) -> None:
        """The fork server has ended, and takes its children along. What each of them has written counts, so each is
        gone only when its socket ends.
        """
        if nursery.forker is not None:
            self._brood.unwatch(nursery.forker.fileno())
        said = f"the process that forks children ended: {nursery.lose()}"
        if not self._closed:
            logger.error("%s", said)
        now = time.monotonic()
        nursery.stillborn(said, now)
        for slot in self._brood:
            slot.orphan = True
            slot.complaint = slot.complaint or said
            slot.deadline = now + SILENCE
            slot.kill()
            self._read(slot, collected, math.inf)

    def _bury(self, slot: Slot, code: int | None, collected: Collected) -> None:
        """A child's process has ended."""
        slot.ended, slot.code = True, code
        self._read(slot, collected, math.inf)
        runs = slot.stamp.runs
        left = []
        for number, job in slot.staged.items():
            if number > runs:
                left.append(job)
                continue
            error: PoolError = WorkerLostError(f"job {job.id} was lost: {slot.death_text()}")
            if slot.verdict is not None and slot.verdict[0] == number:
                error = slot.verdict[1]
            if number > slot.told:
                collected.started.append(job.id)
            collected.finished.append(Outcome(job.id, error=error))
        self._backlog.put_back(left)
        if not slot.leaving:
            logger.log(logging.INFO if slot.verdict is not None else logging.ERROR, "%s", slot.death_text())
            if not slot.ready and not slot.orphan and self._nursery is not None:
                self._nursery.stillborn(slot.death_text(), slot.born)
        self._brood.remove(slot)
        slot.close()

    # What is due

    def _patience(self) -> float:
        """Seconds that a job may take before those behind it are taken back: fewer while another child is idle."""
        idle = any(slot.usable and not slot.staged for slot in self._brood.working)
        return AHEAD if idle else self._backlog.pace.patience

    def _look(self, slot: Slot, now: float, patience: float, collected: Collected) -> None:
        """Tell of jobs begun, enforce limits, and take back jobs from a child that is held up."""
        if slot.deadline is not None and now >= slot.deadline:
            if slot.orphan:
                self._bury(slot, None, collected)
                return
            self._give_up(slot, "it went on without its connection to the pool, or took too long to leave")
        elif not slot.up and slot.deadline is None and now - slot.born >= self._options.alive_timeout:
            self._give_up(slot, f"it had not reported within {self._options.alive_timeout} s")
        staged = slot.staged
        if not staged:
            if slot.leaving and slot.deadline is None:
                slot.deadline = now + FAREWELL
            if slot.verdict is not None and now - slot.touched >= REPRIEVE:
                slot.verdict = None
            if slot.silent and slot.stamp.begun >= slot.sent:
                slot.silent = False
            return
        begun, since = slot.stamp.read()
        runs = slot.stamp.runs
        if runs > slot.told and now - since >= BEGUN:
            if next(iter(staged)) < runs:
                self._read(
                    slot, collected, math.inf
                )  # those before it: what they came to, or that they were passed over
            if runs in staged:
                slot.told = runs
                collected.started.append(staged[runs].id)
        job = staged.get(begun)
        if job is None:
            if now - slot.touched > SILENCE and not slot.backlogged and slot.ready:
                logger.warning("child %d does not begin its jobs; they go to others", slot.pid)
                self._backlog.put_back(slot.reclaim())
                slot.silent = True
            return
        elapsed = now - since
        if job.hard_limit is not None and elapsed >= job.hard_limit and slot.verdict is None:
            self._condemn(slot, begun, TimeLimitExceeded(job.hard_limit), signal.SIGKILL)
        elif job.soft_limit is not None and elapsed >= job.soft_limit and slot.softened < begun:
            slot.softened = slot.stamp.soft = begun
            slot.kill(signal.SIGUSR1)
        if len(staged) > 1 and elapsed >= patience:
            self._backlog.put_back(slot.reclaim())

    def _give_up(self, slot: Slot, complaint: str) -> None:
        slot.complaint = slot.complaint or complaint
        slot.deadline = math.inf
        if not slot.pid and self._nursery is not None and self._nursery.forker is not None:
            self._nursery.forker.crush()
        slot.kill()

    def _condemn(self, slot: Slot, number: int, error: PoolError, by: int) -> bool:
        """End a child for the sake of one job. Its other jobs are taken back first, so that none of them is hit.

        Returns:
            False when that job has ended in the meantime; nothing is done then.
        """
        self._backlog.put_back(slot.reclaim())
        if slot.stamp.begun != number:
            return False
        slot.verdict = (number, error)
        slot.kill(by)
        return True

    def _wanting(self) -> bool:
        return len(self._brood.working) < self._target and (not self._closed or len(self._backlog) > 0)

    def _replace(self, nursery: Nursery, now: float) -> None:
        """Fork children in place of those gone."""
        while self._wanting() and now >= nursery.due and nursery.broken is None:
            try:
                self._add(nursery)
            except PoolError as error:
                logger.error("a child process could not be replaced: %s", error)
                nursery.stillborn(str(error), now)

    def _add(self, nursery: Nursery) -> None:
        self._brood.add(nursery.bear(self._brood.indexes()))
        if nursery.forker is not None:
            self._brood.watch_file(nursery.forker.fileno())

    def _assign(self) -> None:
        """Send waiting jobs to children that have room."""
        if not self._backlog:
            return
        refused = self._backlog.share_out(self._brood.working, self._options.max_jobs_per_child)
        self._refused += [Outcome(job.id, error=error) for job, error in refused]
        for slot in self._brood.working:
            if slot.backlogged:
                self._brood.watch(slot)


def _outcome(job_id: int, said: int, value: Any) -> Outcome:
    if said == Said.DONE:
        return Outcome(job_id, value)
    return Outcome(job_id, error=(PoolError if said == Said.FAILED else WorkerLostError)(value))
