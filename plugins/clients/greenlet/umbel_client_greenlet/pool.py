"""The pool of greenlets: many jobs at once in one thread."""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from umbel_client_greenlet.hub import Hub
from umbel_client_greenlet.settings import stall
from umbel_client_greenlet.slot import Killed, Slot
from umbel_client_greenlet.watchdog import Watchdog
from umbel_kernel.errors import PoolError, SoftTimeLimitExceeded, Terminated, TimeLimitExceeded, WorkerLostError
from umbel_kernel.spi.pool import Collected, Job, Outcome, Pool, PoolCapability, PoolOptions

logger = logging.getLogger("umbel.pool")

START_GRACE = 0.005
"""Seconds after which the loop looks whether a job that was handed over has begun."""

SLICE = 0.005
"""Seconds after which jobs that do not wait for anything let others run."""

INSIST = (0.1, 0.4, 0.5, 1.0)
"""Seconds between one attempt to end a job and the next. After the last the pool goes on without its greenlet."""


class GreenletPool(Pool):
    """Runs jobs in greenlets of the thread that opens it, which the worker's loop shares with them.

    A greenlet takes one job after the other. Each time it takes one while there are more, another greenlet is called
    for, which comes to its turn only if the job waits for something: jobs that do not wait cost no change of greenlets,
    and behind one that waits the next begins at once.

    All greenlets are of one thread and change only where one of them waits, so nothing here needs a lock.

    *Limits*: the soft one raises ``SoftTimeLimitExceeded`` in the job where it waits; the hard one, ``cancel`` and
    ``terminate`` raise ``Killed``, which is no ``Exception``, and again while the job goes on. When it does not end in
    two seconds its outcome is told all the same, and the pool has another greenlet in its place. A job that does not
    wait for anything cannot be reached; the log tells of it.

    ``initialize`` is called once, in ``open``; ``finalize`` once, when all has ended after ``close``.

    What a job raises that it should not: ``SystemExit`` and other exits end the job alone, with ``WorkerLostError``;
    any other exception gives a ``PoolError`` with it as cause.

    Attributes:
        hub: what the greenlets wait in.
    """

    capabilities: ClassVar[frozenset[PoolCapability]] = frozenset(
        {
            PoolCapability.SOFT_TIME_LIMIT,
            PoolCapability.HARD_TIME_LIMIT,
            PoolCapability.TERMINATE,
            PoolCapability.RESIZE,
            PoolCapability.ONE_THREAD,
        }
    )
    hub: ClassVar[Hub]

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._unbegun: dict[int, Job] = {}
        self._begun: deque[int] = deque()
        self._ended: deque[Outcome] = deque()
        self._running: dict[int, Slot] = {}
        self._parked: list[Slot] = []
        self._active = 0
        self._size = 0
        self._called_at = 0.0
        self._told = False
        self._closed = False
        self._finalized = False
        self._watchdog: Watchdog | None = None
        self._opened = False

    def open(self, size: int, execute: Callable[[Job], Any], wake: Callable[[], None], options: PoolOptions) -> None:
        """Get ready; greenlets are made as they are needed.

        Raises:
            PoolError: the size is no positive number, ``initialize`` raised, or the standard library is not patched.
        """
        hub = self.hub
        if size < 1:
            raise PoolError(f"a pool of {size} greenlets cannot run anything; give a concurrency of at least 1")
        missing = hub.missing()
        if missing:
            raise PoolError(
                f"the pool {hub.name!r} needs the standard library patched before anything else is imported, and "
                f"{', '.join(missing)} is not; start the worker with `umbel -A APP worker -P {hub.name}`, since the "
                f"setting `worker_pool` is read too late for that, or patch it in the first line of your program"
            )
        self._size = size
        self._execute = execute
        self._wake = wake
        self._finalize = options.finalize
        if options.initialize is not None:
            try:
                options.initialize()
            except Exception as error:
                raise PoolError(f"the pool of greenlets cannot start: initialize raised {error!r}") from error
        self._opened = True
        name, code = stall(hub.name).name, GreenletPool._run.__code__
        seconds = options.settings.get(name, stall(hub.name).default)
        if seconds:
            self._watchdog = Watchdog(hub, code, stall=seconds, running=lambda: len(self._running), logger=logger)
            self._watchdog.start()

    @property
    def size(self) -> int:
        """How many jobs can run at once."""
        return self._size

    def submit(self, jobs: Sequence[Job]) -> None:
        """Take jobs.

        Raises:
            PoolError: the pool is closed.
        """
        if self._closed:
            raise PoolError("the pool of greenlets is closed and takes no more jobs")
        self._unbegun.update((job.id, job) for job in jobs)
        self._jobs.extend(jobs)
        self._call()

    def withdraw(self, job_ids: Sequence[int]) -> list[int]:
        """Take back whatever has not begun."""
        return [job_id for job_id in job_ids if self._unbegun.pop(job_id, None) is not None]

    def collect(self) -> Collected:
        """What has happened since the last call."""
        self._told = False
        begun, ended = self._begun, self._ended
        told = Collected([*begun], [*ended])
        begun.clear()
        ended.clear()
        return told

    def next_check(self) -> float | None:
        """Soon, while a job may have begun that ``collect`` has not told of yet."""
        if self._begun:
            return 0.0
        return START_GRACE if self._unbegun and len(self._running) < self._size else None

    def cancel(self, job_id: int, signal: str = "TERM") -> bool:
        """End a running job; all signals do the same."""
        slot = self._running.get(job_id)
        if slot is None:
            return False
        self.hub.soon(self._kill, slot, slot.job, Terminated(f"ended by SIG{signal.removeprefix('SIG')}"))
        return True

    def grow(self, count: int = 1) -> None:
        """Let more jobs run at once."""
        self._size += count
        self._call()

    def shrink(self, count: int = 1) -> None:
        """Let fewer jobs run at once; those that run go on.

        Raises:
            PoolError: none could run.
        """
        if count >= self._size:
            raise PoolError(f"a pool of {self._size} greenlets cannot shrink by {count}: one must stay")
        self._size -= count
        while len(self._parked) > self._size:
            self._dismiss()

    def info(self) -> dict[str, Any]:
        """Facts for people and remote control."""
        return {
            "max-concurrency": self._size,
            "processes": [os.getpid()],
            "greenlets": self._active + len(self._parked),
            "busy": len(self._running),
        }

    def close(self) -> None:
        """Take no more jobs; the greenlets leave when there are none."""
        self._closed = True
        self._wind_up()

    def terminate(self, *, timeout: float = 5.0) -> None:
        """Drop what has not begun, end what runs, and wait as long as ``timeout`` until it has."""
        self._closed = True
        self._jobs.clear()
        self._unbegun.clear()
        for slot in self._running.values():
            self.hub.soon(self._kill, slot, slot.job, Terminated("ended with the worker"))
        end = time.monotonic() + timeout
        while self._running and time.monotonic() < end:
            self.hub.sleep(0.005)
        self._wind_up()
        self._stop_watching()

    # Greenlets coming and going

    def _call(self) -> None:
        """Have the hub send somebody for the jobs that wait, if it was not asked to already."""
        if not self._called_at and self._jobs and self._active < self._size:
            self._called_at = time.monotonic()
            self.hub.soon(self._send)

    def _send(self) -> None:
        """In the hub: wake a greenlet, or make one."""
        self._called_at = 0.0
        if not self._jobs or self._active >= self._size:
            return
        self._active += 1
        if self._parked:
            self._parked.pop().greenlet.switch()
        else:
            slot = Slot()
            slot.greenlet = self.hub.spawn(self._work, slot)

    def _dismiss(self) -> None:
        slot = self._parked.pop()
        slot.leaves = True
        self.hub.soon(slot.greenlet.switch)

    def _wind_up(self) -> None:
        """Once nothing runs nor waits to run after ``close``, let the greenlets go and end in good order."""
        if not self._closed or self._active or self._jobs:
            return
        while self._parked:
            self._dismiss()
        if self._opened and not self._finalized:
            self._finalized = True
            self._stop_watching()
            if self._finalize is not None:
                self._finalize()

    def _stop_watching(self) -> None:
        if self._watchdog is not None:
            self._watchdog.stop()

    def _park(self, slot: Slot) -> bool:
        """Wait for jobs. Returns False when it is time to leave."""
        self._active -= 1
        if self._closed:
            self._wind_up()
            return False
        if len(self._parked) >= self._size:
            return False
        self._parked.append(slot)
        self.hub.wait()
        return not slot.leaves

    def _work(self, slot: Slot) -> None:
        """What each greenlet does."""
        jobs, unbegun = self._jobs, self._unbegun
        while True:
            if not jobs or self._active > self._size:
                if not self._park(slot):
                    return
                continue
            job = jobs.popleft()
            if unbegun.pop(job.id, None) is None:
                continue
            if jobs and not self._called_at:
                self._call()
            self._run(slot, job)
            if slot.given_up:
                return
            if self._called_at and time.monotonic() - self._called_at > SLICE:
                self.hub.sleep(0)

    # One job

    def _run(self, slot: Slot, job: Job) -> None:
        slot.job = job
        self._running[job.id] = slot
        if job.soft_limit is not None or job.hard_limit is not None:
            self._limit(slot, job)
        self._begun.append(job.id)
        try:
            outcome = Outcome(job.id, self._execute(job))
        except BaseException as error:
            said = f"job {job.id} could not be run: {type(error).__name__}: {error}"
            wrong = (
                PoolError(said) if isinstance(error, Exception) else WorkerLostError(f"job {job.id} raised {error!r}")
            )
            wrong.__cause__ = error
            outcome = Outcome(job.id, error=wrong)
        if slot.given_up:
            logger.warning("job %d, which was given up, has ended", job.id)
            return
        if slot.verdict is not None:
            outcome = Outcome(job.id, error=slot.verdict)
        slot.settle()
        del self._running[job.id]
        self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        self._ended.append(outcome)
        if not self._told:
            self._told = True
            self._wake()

    def _limit(self, slot: Slot, job: Job) -> None:
        if job.soft_limit is not None:
            slot.pending.append(self.hub.later(job.soft_limit, self._warn, slot, job))
        if job.hard_limit is not None:
            verdict = TimeLimitExceeded(job.hard_limit)
            slot.pending.append(self.hub.later(job.hard_limit, self._kill, slot, job, verdict))

    def _warn(self, slot: Slot, job: Job) -> None:
        """In the hub: the soft limit is reached."""
        if slot.job is job and slot.verdict is None:
            slot.greenlet.throw(SoftTimeLimitExceeded(job.soft_limit))

    def _kill(self, slot: Slot, job: Job, verdict: Exception, attempt: int = 0) -> None:
        """In the hub: end a job, if it still runs."""
        if slot.job is not job or slot.given_up:
            return
        if slot.verdict is None:
            slot.verdict = verdict
        elif not attempt:
            return
        if attempt == len(INSIST):
            self._give_up(slot, job)
            return
        slot.pending.append(self.hub.later(INSIST[attempt], self._kill, slot, job, verdict, attempt + 1))
        # Last of all, since the job runs now, until it waits again.
        slot.greenlet.throw(Killed(str(verdict)))

    def _give_up(self, slot: Slot, job: Job) -> None:
        logger.error(
            "job %d (task %s) does not end though it was told to %d times; the pool goes on without its greenlet",
            job.id,
            job.headers.get("task", "of no name"),
            len(INSIST),
        )
        slot.given_up = True
        verdict = slot.verdict
        slot.settle()
        self._active -= 1
        del self._running[job.id]
        self._end(Outcome(job.id, error=verdict))
        self._call()
        self._wind_up()
