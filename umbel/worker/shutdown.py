"""How the worker is asked to end: by signal, from code, or by remote control; and how soon it does."""

from __future__ import annotations

import contextlib
import enum
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

from umbel.model import signals
from umbel.model.exceptions import ColdShutdown
from umbel.model.later import Later
from umbel.worker import stacks

if TYPE_CHECKING:
    from umbel.model import rdb
else:
    rdb = Later("umbel.model.rdb")

logger = logging.getLogger("umbel.worker")

FAILED = 1
"""The exit code of a worker that cut off tasks, or was left at once. Celery's for every cold end."""

AGAIN = 0.5
"""Seconds in which the same signal counts once: ``timeout`` and some process managers send it to a whole group, too."""

Handler = Callable[[int, FrameType | None], None]


class Ending(enum.IntEnum):
    """How soon."""

    NONE = 0
    WARM = 1
    """Take nothing new, let what runs finish; with ``worker_warm_shutdown_timeout`` for so long, then cold."""
    SOFT = 2
    """Likewise for ``worker_soft_shutdown_timeout`` seconds, then cold."""
    COLD = 3
    """End what runs, give back what is not acknowledged."""


class Shutdown:
    """Remembers how the worker is to end. It only ever gets more urgent.

    Args:
        wake: called when it does.

    Attributes:
        sender: who ``worker_shutting_down`` is sent by: the worker's name.
        warm: seconds that a warm end may take before it turns cold; 0 for any number.
        soft: seconds for which a cold end is a soft one first.
        soft_on_idle: whether it is also when nothing runs.
        busy: tells whether anything runs.
        children: tells the processes of the pool, for ``SIGUSR1``.
        restarts: whether to start anew after the end.
    """

    def __init__(self, wake: Callable[[], None] = lambda: None) -> None:
        self.wake = wake
        self.ending = Ending.NONE
        self.exit_code = 0
        self.interrupts = False
        """Whether a cold end raises ``ColdShutdown`` in the main thread, to end the job that runs there."""
        self.sheltered = False
        """Whether it does not, for the moment, because that thread does the loop's work."""
        self.sender = ""
        self.warm = self.soft = 0.0
        self.soft_on_idle = False
        self.busy: Callable[[], bool] = lambda: True
        self.children: Callable[[], list[int]] = lambda: []
        self.restarts = False
        self._until: float | None = None
        self._since = 0.0
        self._own = False
        self._restore: dict[int, Any] = {}

    def request(self, ending: Ending, *, exit_code: int = 0, reason: str = "") -> None:
        """Ask the worker to end. Callable from any thread and from a signal handler.

        Args:
            ending: how soon. A cold end is a soft one first, if the settings say so; asked for again, it is cold.
            exit_code: with which at the least.
            reason: such as the signal's name.
        """
        if ending is Ending.COLD and self.ending < Ending.SOFT and self.soft and (self.soft_on_idle or self.busy()):
            ending = Ending.SOFT
            _say(f"\nworker: Soft shutdown: tasks that run have {self.soft:g} seconds")
        self.exit_code = max(self.exit_code, exit_code)
        self._become(ending, reason)
        self.wake()

    def _become(self, ending: Ending, reason: str) -> None:
        if ending <= self.ending:
            return
        self.ending, self._since = ending, monotonic()
        seconds = {Ending.WARM: self.warm, Ending.SOFT: self.soft}.get(ending)
        self._until = self._since + seconds if seconds else None
        # Celery's words: it calls a soft end cold, for that is what it becomes.
        how, code = ("Warm", 0) if ending is Ending.WARM else ("Cold", FAILED)
        signals.worker_shutting_down.send(sender=self.sender, sig=reason, how=how, exitcode=code)

    def left(self) -> float | None:
        """Seconds until the end turns cold; None when it does not by itself."""
        return None if self._until is None else max(self._until - monotonic(), 0.0)

    def check(self) -> None:
        """Turn cold when the time is up. Called by the thread that turns the loop, again and again while it ends."""
        if self.left() != 0.0:
            return
        self._until = None
        logger.warning("tasks still run after the time that they had to finish: cold shutdown")
        self._become(Ending.COLD, "timeout")
        if self.interrupts and self._restore:
            # For the handler below to end what runs in the main thread.
            self._own = True
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGQUIT)

    # Signals

    def install(self) -> None:
        """Handle signals. Call in the main thread.

        ``TERM`` and ``INT`` are warm, ``QUIT`` and a second ``INT`` cold, one more is to leave at once; ``HUP`` is to
        start anew, on a terminal warm; ``USR1`` prints stacks; ``USR2`` opens a debugger if ``CELERY_RDBSIG`` is set.
        With ``REMAP_SIGTERM=SIGQUIT`` in the environment ``TERM`` is as ``QUIT``.
        """
        remapped = os.environ.get("REMAP_SIGTERM") == "SIGQUIT"
        handlers: dict[int, Handler] = {
            signal.SIGTERM: self._on_cold if remapped else self._on_warm,
            signal.SIGINT: self._on_interrupt,
            signal.SIGQUIT: self._on_cold,
            signal.SIGHUP: self._on_warm if _on_terminal() else self._on_restart,
            signal.SIGUSR1: self._on_stacks,
        }
        if os.environ.get("CELERY_RDBSIG"):
            handlers[signal.SIGUSR2] = _on_debug
        for number, handler in handlers.items():
            self._restore[number] = signal.signal(number, handler)

    def uninstall(self) -> None:
        """Put the earlier handlers back."""
        for number, handler in self._restore.items():
            signal.signal(number, handler)
        self._restore.clear()

    def _on_warm(self, number: int, frame: FrameType | None) -> None:
        _say("\nworker: Warm shutdown (MainProcess)")
        self.restarts = False
        self.request(Ending.WARM, reason=signal.Signals(number).name)

    def _on_interrupt(self, number: int, frame: FrameType | None) -> None:
        if self.ending is Ending.NONE:
            _say("\nworker: Hitting Ctrl+C again will terminate all running tasks!")
            self._on_warm(number, frame)
        else:
            self._on_cold(number, frame)

    def _on_cold(self, number: int, frame: FrameType | None) -> None:
        own, self._own = self._own, False
        if self.ending is Ending.COLD and monotonic() - self._since > AGAIN and not own:
            _say(f"\nworker: {signal.Signals(number).name} once more, leaving at once")
            os._exit(FAILED)
        if self.ending < Ending.COLD:
            _say("\nworker: Cold shutdown (MainProcess)")
        self.restarts = False
        self.request(Ending.COLD, reason=signal.Signals(number).name)
        if self.ending is Ending.COLD and self.interrupts and not self.sheltered:
            raise ColdShutdown

    def _on_restart(self, number: int, frame: FrameType | None) -> None:
        _say("\nworker: Warm shutdown (MainProcess), then it starts anew")
        self.restarts = self.ending is Ending.NONE
        self.request(Ending.WARM, reason="SIGHUP")

    def _on_stacks(self, number: int, frame: FrameType | None) -> None:
        _say(stacks.text(frame))
        stacks.ask(self.children())


def leave(code: int) -> NoReturn:
    """End this process now, with what it has written, and without waiting for threads of tasks."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        if stream is not None:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
    os._exit(code)


def _on_debug(number: int, frame: FrameType | None) -> None:
    rdb.look(frame)


def _on_terminal() -> bool:
    return sys.__stdout__ is not None and not sys.__stdout__.closed and sys.__stdout__.isatty()


def _say(text: str) -> None:
    """Write past the logging, which a signal may have interrupted halfway."""
    try:
        os.write(sys.__stderr__.fileno() if sys.__stderr__ is not None else 2, f"{text}\n".encode())
    except (OSError, ValueError):
        logger.debug("stderr is closed; it would have said: %s", text.strip())
