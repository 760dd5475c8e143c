"""Signs of life, in both directions, from a thread that a long task cannot stop."""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from typing import Protocol

logger = logging.getLogger("umbel.broker.amqp")
_TICK = 1.75
_PATIENCE = 6
_ASK_AFTER = 2
_LONGEST = 60.0


class Beating(Protocol):
    """A connection as its pulse sees it. None of these may raise or wait for long."""

    def traffic(self) -> tuple[int, object]:
        """A number that changes when something was sent, and a value that changes when something has come, be it read
        or not."""

    def beat(self) -> None:
        """Send a heartbeat, unless another thread is just sending something."""

    def ask(self) -> None:
        """Send a request that any living server answers at once."""

    def give_up(self, reason: str) -> None:
        """The server is dead: end whatever waits for it."""


class Pulse:
    """Counts the ticks of one connection: who was silent for how many.

    Time is counted in ticks of the heart's thread and not on a clock, so that a process that was stopped for a while
    does not take its own silence for the server's.

    Args:
        connection: whose.
        interval: the heartbeat that both sides agreed to, in seconds.
        asks: ask a silent server for an answer, and give it up within 15 seconds however long the interval is.
    """

    def __init__(self, connection: Beating, interval: float, *, asks: bool) -> None:
        self._connection = weakref.ref(connection)
        self._asks = asks
        self.tick = min(interval / 3, _TICK) if asks else interval / 3
        self._beats = max(1, int(interval / 3 / self.tick))
        self._patience = min(_PATIENCE, int(2 * interval / self.tick)) if asks else int(2 * interval / self.tick)
        self._sent, self._heard = connection.traffic()
        self._quiet = 0
        self._silent = 0
        self.due = time.monotonic() + self.tick

    def tend(self, now: float) -> None:
        """Do what is due at this tick."""
        self.due = now + self.tick
        connection = self._connection()
        if connection is None:
            return
        sent, heard = connection.traffic()
        self._silent = 0 if heard != self._heard else self._silent + 1
        self._quiet = 0 if sent != self._sent else self._quiet + 1
        self._heard = heard
        if self._silent >= self._patience:
            connection.give_up(f"the server was silent for {self._silent * self.tick:.0f} s")
        elif self._asks and self._silent >= _ASK_AFTER:
            connection.ask()
        elif self._quiet >= self._beats:
            connection.beat()
            self._quiet = 0
        self._sent = connection.traffic()[0]


class Heart:
    """The thread that tends every pulse of this process. It ends when there is none."""

    def __init__(self) -> None:
        # A signal handler or a finalizer may publish while its thread has it.
        self._lock = threading.RLock()
        self._pulses: weakref.WeakKeyDictionary[Beating, Pulse] = weakref.WeakKeyDictionary()
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None

    def keep(self, connection: Beating, interval: float, *, asks: bool) -> None:
        """Tend a connection until it is dropped or forgotten by everybody else."""
        pulse = Pulse(connection, interval, asks=asks)
        with self._lock:
            self._pulses[connection] = pulse
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="umbel-amqp-heartbeat", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    return  # the interpreter is about to end, and so are its connections
                self._thread = thread
        self._changed.set()

    def drop(self, connection: Beating) -> None:
        """Tend it no more."""
        with self._lock:
            self._pulses.pop(connection, None)

    def _run(self) -> None:
        while True:
            with self._lock:
                pulses = list(self._pulses.values())
                if not pulses:
                    self._thread = None
                    return
            now = time.monotonic()
            for pulse in pulses:
                if pulse.due <= now:
                    try:
                        pulse.tend(now)
                    except Exception:
                        # Without this thread every connection of the process would be lost.
                        logger.exception("a connection cannot be kept alive")
            pause = min(_LONGEST, min(pulse.due for pulse in pulses) - time.monotonic())
            del pulses, pulse
            if pause > 0 and self._changed.wait(pause):
                self._changed.clear()


heart = Heart()


def _begin_anew() -> None:
    """In a child process: the parent's connections are not its own, and its thread and locks are not here."""
    Heart.__init__(heart)


os.register_at_fork(after_in_child=_begin_anew)
