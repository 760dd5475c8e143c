"""How the worker is asked to end: by signal, from code, or by remote control."""

from __future__ import annotations

import enum
import logging
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

from umbel.model import signals
from umbel.model.exceptions import ColdShutdown

logger = logging.getLogger("umbel.worker")


class Ending(enum.IntEnum):
    """How soon."""

    NONE = 0
    WARM = 1
    """Take nothing new, let what runs finish."""
    COLD = 2
    """End what runs, give back what is not acknowledged."""


class Shutdown:
    """Remembers how the worker is to end. It only ever gets more urgent.

    Args:
        wake: called when it does.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self.wake = wake
        self.ending = Ending.NONE
        self.exit_code = 0
        self.interrupts = False
        """Whether a cold end raises ``KeyboardInterrupt`` in the main thread, to end the job that runs there."""
        self.sheltered = False
        """Whether it does not, for the moment, because that thread does the loop's work."""
        self._restore: dict[int, Any] = {}

    def request(self, ending: Ending, *, exit_code: int = 0, reason: str = "") -> None:
        """Ask the worker to end. Callable from any thread and from a signal handler."""
        if ending > self.ending:
            self.ending = ending
            self.exit_code = exit_code
            signals.worker_shutting_down.send(sender=None, sig=reason, how=ending.name.capitalize(), exitcode=exit_code)
        self.wake()

    def install(self, *, remap: str | None = os.environ.get("REMAP_SIGTERM")) -> None:
        """Handle TERM and INT as warm, QUIT as cold, and a second INT as cold. Call in the main thread."""
        handlers: dict[int, Callable[[int, FrameType | None], None]] = {
            signal.SIGTERM: self._on_cold if remap == "SIGQUIT" else self._on_warm,
            signal.SIGINT: self._on_interrupt,
            signal.SIGQUIT: self._on_cold,
        }
        for number, handler in handlers.items():
            self._restore[number] = signal.signal(number, handler)

    def uninstall(self) -> None:
        """Put the earlier handlers back."""
        for number, handler in self._restore.items():
            signal.signal(number, handler)
        self._restore.clear()

    def _on_warm(self, number: int, frame: FrameType | None) -> None:
        _say("\nworker: Warm shutdown (MainProcess)")
        self.request(Ending.WARM, reason=signal.Signals(number).name)

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.ending is Ending.NONE:
            _say("\nworker: Hitting Ctrl+C again will terminate all running tasks!")
            self._on_warm(number, frame)
        elif self.ending is Ending.WARM:
            self._on_cold(number, frame)
        else:
            _say("\nworker: third Ctrl+C, leaving at once")
            os._exit(1)

    def _on_cold(self, number: int, frame: FrameType | None) -> None:
        _say("\nworker: Cold shutdown (MainProcess)")
        self.request(Ending.COLD, reason=signal.Signals(number).name)
        if self.interrupts and not self.sheltered:
            raise ColdShutdown


def _say(text: str) -> None:
    """Write past the logging, which a signal may have interrupted halfway."""
    try:
        os.write(sys.__stderr__.fileno() if sys.__stderr__ is not None else 2, f"{text}\n".encode())
    except (OSError, ValueError):
        logger.debug("stderr is closed; it would have said: %s", text.strip())
