"""Looks after messages that were posted when no further call does."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

logger = logging.getLogger("umbel.app.confirmer")

_PARKED = 30.0
_LONGEST_PAUSE = 5.0


class Confirmer:
    """A thread that has the last messages of a burst confirmed, so that none waits for a call that may not come.

    It is started by the first message that is left unconfirmed, sleeps while messages follow one another, and ends
    when it was not needed for half a minute.

    Args:
        settle: has everything confirmed and sends again what was not taken; False when something is left to be done.
        quiet: seconds without a message after which it looks.
    """

    def __init__(self, settle: Callable[[], bool], *, quiet: float = 0.1) -> None:
        self._settle = settle
        self._quiet = quiet
        # A signal handler may call ``wake`` while its thread is in it.
        self._lock = threading.RLock()
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self._awake = False
        self._posted = 0

    def wake(self) -> None:
        """Say that something was posted that is not confirmed. Cheap while messages follow one another."""
        self._posted += 1
        if not self._awake:
            with self._lock:
                self._awake = True
                self._wanted.set()
                if self._thread is None:
                    thread = threading.Thread(target=self._run, name="umbel-confirmer", daemon=True)
                    try:
                        thread.start()
                    except RuntimeError:
                        return  # the interpreter is about to end, and has what was posted confirmed then
                    self._thread = thread

    def _run(self) -> None:
        while True:
            if not self._wanted.wait(_PARKED):
                with self._lock:
                    if not self._wanted.is_set():
                        self._thread = None
                        return
            self._wanted.clear()
            self._look()

    def _look(self) -> None:
        pause = self._quiet
        sleep = threading.Event().wait
        while True:
            seen = self._posted
            sleep(pause)
            if self._posted != seen:
                continue  # whoever posts looks at what came before
            if not self._is_settled():
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            self._awake = False
            if self._posted == seen:
                return
            self._awake = True
            pause = self._quiet

    def _is_settled(self) -> bool:
        try:
            return self._settle()
        except Exception:  # whatever it is, the thread has to live on for the messages after it
            logger.exception("posted messages could not be confirmed; trying again")
            return False
