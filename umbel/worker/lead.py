"""Who turns the loop: a thread of the pool that has nothing to run, or else the loop's own thread.

A short task costs less than handing it from one thread to another, twice. So a thread of the pool that is out of
jobs turns the loop itself, and then runs what it has taken. The loop's own thread looks now and then whether nobody
leads, because all are busy with long tasks, and then leads until one of them comes back.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Protocol

from umbel.worker.shutdown import Ending, Shutdown

TICK = 0.005
"""Seconds between two looks of the loop's own thread; when nobody has led in between, it does."""

QUIET = 200
"""Looks without anything done after which it sleeps until somebody has something to run."""


class Turned(Protocol):
    """What is needed of the loop."""

    shutdown: Shutdown

    def turn(self, *, leads: bool = False) -> None:
        """One turn; who leads runs jobs himself, so it does not wait where there are some."""
        ...

    def nudge(self) -> None:
        """End the turn that waits."""
        ...

    @property
    def busy(self) -> bool:
        """Whether anything runs or waits to run."""
        ...

    @property
    def wants_other(self) -> bool:
        """Whether somebody else should lead, now that the leader runs a task."""
        ...


class Lead:
    """Sees to it that one thread at a time turns the loop, and that somebody always does.

    Args:
        wake: ends whatever the loop's own thread waits for while nobody may lead.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._loop: Turned | None = None
        self._open = False
        self._claim = threading.Lock()
        self._turning = threading.Lock()
        self._wanted = False
        self._asleep = False
        self._turns = 0
        self._gate: SimpleQueue[None] = SimpleQueue()
        self._failure: BaseException | None = None

    # For threads of the pool

    def take(self) -> bool:
        """Turn the loop once. Returns False when another thread of the pool does, or none may: then wait for jobs."""
        loop = self._loop
        if not self._open or loop is None:
            return False
        # A cold end is not to strike in the middle of a turn.
        loop.shutdown.sheltered = True
        try:
            if not self._claim.acquire(False):
                return False
            try:
                return self._turn(loop)
            finally:
                self._claim.release()
                if (self._asleep and loop.busy) or loop.wants_other:
                    self.ring()
        finally:
            loop.shutdown.sheltered = False

    def _turn(self, loop: Turned) -> bool:
        if not self._turning.acquire(False):
            self._wanted = True
            loop.nudge()
            self._turning.acquire()
        try:
            self._wanted = False
            if not self._open:
                return False
            loop.turn(leads=True)
            self._turns += 1
            return True
        except BaseException as error:
            self._failure = error
            self._open = False
            self.ring()
            return False
        finally:
            self._turning.release()

    def done(self) -> None:
        """A job has ended: wake who turns the loop. When nobody does, somebody will, and finds the job's outcome."""
        loop = self._loop
        if loop is None or not self._open:
            self._wake()
        elif self._turning.locked():
            loop.nudge()

    # For the loop's own thread

    def ring(self) -> None:
        """Let the loop's own thread look. Callable from any thread and from a signal handler."""
        self._asleep = False
        self._gate.put(None)

    def run(self, loop: Turned, rouse: Callable[[], None]) -> None:
        """See to it that the loop is turned, until the worker is to end.

        Args:
            rouse: lets a thread of the pool that waits for jobs look whether it can lead.

        Raises:
            Exception: what a turn has raised, in whichever thread.
        """
        self._loop, self._failure, self._open = loop, None, True
        try:
            rouse()
            self._watch(loop)
        finally:
            self._open = False
            loop.nudge()
            with self._turning:
                failure = self._failure
        if failure is not None:
            raise failure

    def _watch(self, loop: Turned) -> None:
        seen, quiet = self._turns, 0
        while loop.shutdown.ending is Ending.NONE and self._open:
            self._sleep(long=quiet >= QUIET)
            if self._claim.locked():
                quiet = 0 if self._turns != seen else quiet + 1
            elif self._turns == seen or loop.wants_other:
                self._lead(loop)
                quiet = 0
            seen = self._turns

    def _sleep(self, *, long: bool) -> None:
        """Wait for a tick, or for long until it is rung for."""
        if long:
            self._asleep = True
            # Who leads now sees that when he has let go of the claim, and rings if there is something to run.
            if not self._claim.locked():
                self._asleep = False
        with contextlib.suppress(Empty):
            self._gate.get(timeout=None if self._asleep else TICK)
            while True:
                self._gate.get_nowait()
        self._asleep = False

    def _lead(self, loop: Turned) -> None:
        with self._turning:
            while not self._wanted and self._open and loop.shutdown.ending is Ending.NONE:
                loop.turn()
