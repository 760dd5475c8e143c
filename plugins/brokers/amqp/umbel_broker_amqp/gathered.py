"""What is written together in a long burst, and soon."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

MOST = 16
"""How many posts are written together."""

SOON = 0.004
"""Seconds between two looks of the thread that writes what nobody else has."""

_LARGE = 32_768
_LONG = 0.001
_QUIET = 25
_PARKED = 5.0


class Gathered:
    """Frames that wait for others to be written with: at most sixteen posts, for a millisecond while others come, and
    for some more when none does. Call within the lock of who writes, but for the constructor.

    A write costs more than all else of a post, and the server as much again to be told of it.

    Args:
        write: called by a thread of its own every few milliseconds while something waits; it takes the lock.
    """

    def __init__(self, write: Callable[[], None]) -> None:
        self._write = write
        self._frames: list[bytes] = []
        self._size = 0
        self._since = 0.0
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._awake = False
        self._thread: threading.Thread | None = None

    def __bool__(self) -> bool:
        return bool(self._frames)

    def add(self, data: bytes) -> bool:
        """Keep these. Returns whether it is time to write."""
        frames = self._frames
        now = time.monotonic()
        if not frames:
            self._since = now
        frames.append(data)
        self._size += len(data)
        if len(frames) >= MOST or self._size >= _LARGE or now - self._since >= _LONG:
            return True
        return not (self._awake or self._wake())

    def take(self) -> bytes:
        """What is to be written; it is forgotten here."""
        frames, self._frames, self._size = self._frames, [], 0
        return b"".join(frames)

    def _wake(self) -> bool:
        """Have a thread look. Returns whether one does; at the end of the interpreter there is none."""
        with self._lock:
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="umbel-amqp-writer", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    return False
                self._thread = thread
            self._awake = True
            self._wanted.set()
            return True

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
        sleep = threading.Event().wait
        quiet = 0
        while quiet < _QUIET:
            sleep(SOON)
            quiet = 0 if self._frames else quiet + 1
            if self._frames:
                self._write()
        self._awake = False
        if self._frames:  # added while it was still thought to be awake
            self._awake = True
            self._wanted.set()
