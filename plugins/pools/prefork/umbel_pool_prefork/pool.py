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
from umbel_pool_prefork.death import signal_number
from umbel_pool_prefork.frame import Said
from umbel_pool_prefork.nursery import Nursery
from umbel_pool_prefork.pace import AHEAD
from umbel_pool_prefork.slot import REPRIEVE, SILENCE, Slot, await_ends
from umbel_pool_prefork.watcher import Watcher, make_watcher

logger = logging.getLogger(__name__)

FAREWELL = 10.0
"""Seconds that a child which leaves in good order has for ``finalize`` before it is killed."""


class PreforkPool(Pool):
    """Runs jobs in child processes that are forked from this one, with ``billiard``.

    Each child has a socket pair and a page of shared memory of its own, and no lock or pipe that it shares with
    another: no child can harm its siblings, whenever and however it dies. The parent never waits for a child.

    *Staging.* A job goes to an idle child at once. Under load up to ``pace.DEEPEST`` jobs are staged in a child, as
    many as take ``pace.AHEAD`` seconds. When the running one takes longer than that, those behind it are taken back
    and go to whichever child is free first.

    *Deaths.* The outcomes that a dead child has written are read first. The job that it ran gets ``WorkerLostError``,
    or ``TimeLimitExceeded`` or ``Terminated`` when the pool killed it for that; its staged jobs go to others. A new
    child is forked at once. If ``nursery.STILLBORN_LIMIT`` in a row die before they are ready, the pool is broken and
    ``collect`` raises ``PoolError`` from then on. ``PoolOptions.lost_wait`` is not needed: what a dead process wrote
    can be read as soon as it is dead.

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
        self._watcher: Watcher | None = None
        self._target = 0
        self._slots: list[Slot] = []
        self._parting: list[Slot] = []
        self._by_file: dict[int, Slot] = {}
        self._backlog = Backlog()
        self._nursery: Nursery | None = None
        self._refused: list[Outcome] = []
        self._closed = False
        self._frozen = False

    def open(self, size: int, execute: Callable[[Job], Any], wake: Callable[[], None], options: PoolOptions) -> None:
        """Fork the children. Does not wait until they are ready.

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
        self._nursery = Nursery(execute, options, self._abandon)
        self._watcher = make_watcher(wake)
        gc.collect()
        gc.freeze()
        self._frozen = True
        try:
            self.grow(size)
        except PoolError:
            self.terminate(timeout=1.0)
            raise
        self._watcher.start()

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
        for slot in self._slots:
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
        watcher, nursery = self._watcher, self._nursery
        if watcher is None or nursery is None:
            return collected
        if nursery.broken is not None:
            raise nursery.broken
        collected.finished, self._refused = self._refused, collected.finished
        for file in watcher.ready():
            slot = self._by_file.get(file)
            if slot is None:
                continue
            if file == slot.death_watch:
                self._bury(slot, collected)
            else:
                self._read(slot, collected)
        now = time.monotonic()
        for slot in self._all():
            self._look(slot, now, collected)
        self._replace(nursery, now)
        self._assign()
        watcher.arm()
        return collected

    def next_check(self) -> float | None:
        """Seconds until a limit is up, a job may have begun, or a child is to be looked after."""
        nursery = self._nursery
        if nursery is None:
            return None
        if nursery.broken is not None or self._refused:
            return 0.0
        now = time.monotonic()
        due = min((slot.due(now, self._options.alive_timeout) for slot in self._all()), default=math.inf)
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
        for slot in self._all():
            running = slot.running()
            if running is not None and running[1].id == job_id:
                return self._condemn(slot, running[0], Terminated(f"job {job_id} was ended by {signal}"), number)
        return False

    def grow(self, count: int = 1) -> None:
        """Fork more children.

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
        surplus = len(self._slots) - self._target
        for slot in sorted(self._slots, key=lambda slot: len(slot.staged))[: max(0, surplus)]:
            self._backlog.put_back(slot.reclaim())
            slot.dismiss()
            self._part(slot)
        self._assign()

    def info(self) -> dict[str, Any]:
        """Facts for people and remote control."""
        now = time.monotonic()
        running = {}
        for slot in self._all():
            found = slot.running()
            if found is not None:
                running[slot.pid] = {"job": found[1].id, "seconds": round(now - found[2], 3)}
        return {
            "implementation": "umbel-pool-prefork",
            "max-concurrency": self._target,
            "processes": [slot.pid for slot in self._slots],
            "max-tasks-per-child": self._options.max_jobs_per_child or "N/A",
            "max-memory-per-child": self._options.max_memory_per_child or "N/A",
            "put-guarded-by-semaphore": False,
            "timeouts": [0, 0],
            "running": running,
            "waiting": len(self._backlog),
            "staged": sum(len(slot.staged) for slot in self._slots),
            "seconds-per-job": round(self._backlog.pace.seconds, 6),
        }

    def close(self) -> None:
        """Take no more jobs."""
        self._closed = True

    def terminate(self, *, timeout: float = 5.0) -> None:
        """End all children: idle ones in good order, busy ones by ``SIGTERM``, and after the timeout by ``SIGKILL``."""
        self._closed = True
        self._target = 0
        self._backlog.clear()
        slots = self._all()
        for slot in slots:
            self._read(slot, Collected())
            slot.reclaim()
            slot.dismiss(now=slot.running() is not None)
            if slot.running() is not None:
                slot.kill(signal.SIGTERM)
        await_ends(slots, time.monotonic() + timeout)
        for slot in slots:
            slot.kill()
        await_ends(slots, time.monotonic() + 1.0)
        watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.close()
        for slot in slots:
            if slot.process.exitcode is None:
                logger.error("child %d could not be killed; it is left behind", slot.pid)
            slot.close()
        self._nursery = None
        self._slots.clear()
        self._parting.clear()
        self._by_file.clear()
        if self._frozen:
            self._frozen = False
            gc.unfreeze()

    # What children say

    def _read(self, slot: Slot, collected: Collected, limit: float | None = None) -> None:
        """Take in what a child has written; write to it what it takes."""
        if slot.backlogged:
            slot.flush()
            self._watch(slot)
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
                self._note(slot, said, value)
        self._backlog.put_back(skipped)
        if count:
            slot.done += count
            slot.touched = time.monotonic()
            self._backlog.pace.add(total, count)
        if slot.mute:
            self._mute(slot)

    def _note(self, slot: Slot, said: int, value: Any) -> None:
        if said == Said.UP:
            slot.up = True
        elif said == Said.READY:
            slot.ready = True
            if self._nursery is not None:
                self._nursery.thrives()
        elif said == Said.BROKEN:
            slot.complaint = value
        elif said == Said.LEAVING:
            slot.leaving = True
            self._backlog.put_back(slot.reclaim())
            self._part(slot)

    def _mute(self, slot: Slot) -> None:
        """A child's socket has ended. Its process is ending too, or its job has closed the socket."""
        if self._watcher is not None:
            self._watcher.unwatch(slot.connection.fileno())
        if slot.deadline is None:
            slot.deadline = time.monotonic() + (FAREWELL if slot.leaving else SILENCE)

    def _bury(self, slot: Slot, collected: Collected) -> None:
        """A child's process has ended."""
        self._read(slot, collected, math.inf)
        code = slot.process.exitcode
        begun = slot.stamp.begun
        left = []
        for number, job in slot.staged.items():
            if number > begun:
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
            if not slot.ready and self._nursery is not None:
                self._nursery.stillborn(slot.death_text())
        for file in (slot.connection.fileno(), slot.death_watch):
            if self._watcher is not None:
                self._watcher.unwatch(file)
            self._by_file.pop(file, None)
        for slots in (self._slots, self._parting):
            if slot in slots:
                slots.remove(slot)
        if code is None:
            logger.warning("another part of this program has taken the exit status of child %d", slot.pid)
        slot.close()

    # What is due

    def _look(self, slot: Slot, now: float, collected: Collected) -> None:
        """Tell of jobs begun, enforce limits, and take back jobs from a child that is held up."""
        if slot.deadline is not None and now >= slot.deadline:
            self._give_up(slot, "it went on without its connection to the pool, or took too long to leave")
        elif not slot.up and slot.deadline is None and now - slot.born >= self._options.alive_timeout:
            self._give_up(slot, f"it had not reported within {self._options.alive_timeout} s")
        staged = slot.staged
        if not staged:
            if slot.leaving and slot.deadline is None:
                slot.deadline = now + FAREWELL
            if slot.verdict is not None and now - slot.touched >= REPRIEVE and slot.process.exitcode is None:
                slot.verdict = None
            if slot.silent and slot.stamp.begun >= slot.sent:
                slot.silent = False
            return
        begun, since = slot.stamp.read()
        if begun > slot.told:
            collected.started += [job.id for number, job in staged.items() if slot.told < number <= begun]
            slot.told = begun
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
        if len(staged) > 1 and elapsed >= AHEAD:
            self._backlog.put_back(slot.reclaim())

    def _give_up(self, slot: Slot, complaint: str) -> None:
        slot.complaint = slot.complaint or complaint
        slot.deadline = math.inf
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
        return len(self._slots) < self._target and (not self._closed or len(self._backlog) > 0)

    def _replace(self, nursery: Nursery, now: float) -> None:
        """Fork children in place of those gone."""
        while self._wanting() and now >= nursery.due and nursery.broken is None:
            try:
                self._add(nursery)
            except PoolError as error:
                logger.error("a child process could not be replaced: %s", error)
                nursery.stillborn(str(error))

    def _add(self, nursery: Nursery) -> None:
        slot = nursery.bear()
        self._slots.append(slot)
        for file in (slot.death_watch, slot.connection.fileno()):
            self._by_file[file] = slot
            if self._watcher is not None:
                self._watcher.watch(file)

    def _abandon(self) -> None:
        """In a new child: close what belongs to the pool."""
        if self._watcher is not None:
            self._watcher.abandon()
        for slot in self._all():
            slot.abandon()

    def _part(self, slot: Slot) -> None:
        if slot in self._slots:
            self._slots.remove(slot)
            self._parting.append(slot)

    def _assign(self) -> None:
        """Send waiting jobs to children that have room."""
        if not self._backlog:
            return
        refused = self._backlog.share_out(self._slots, self._options.max_jobs_per_child)
        self._refused += [Outcome(job.id, error=error) for job, error in refused]
        for slot in self._slots:
            if slot.backlogged:
                self._watch(slot)

    def _watch(self, slot: Slot) -> None:
        """For what it writes; and for room to write to it, while there is more to send."""
        if self._watcher is not None:
            self._watcher.watch(slot.connection.fileno(), writable=slot.backlogged)

    def _all(self) -> list[Slot]:
        return [*self._slots, *self._parting]


def _outcome(job_id: int, said: int, value: Any) -> Outcome:
    if said == Said.DONE:
        return Outcome(job_id, value)
    return Outcome(job_id, error=(PoolError if said == Said.FAILED else WorkerLostError)(value))
