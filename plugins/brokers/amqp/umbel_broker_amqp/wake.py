"""A pipe that ends a wait from another thread or from a signal handler."""

from __future__ import annotations

import os
import select


class WakePipe:
    """Readable once ``wake`` was called, until ``drain``. The self-pipe trick of D. J. Bernstein."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._closed = False

    def fileno(self) -> int:
        """The descriptor to wait on for reading."""
        return self._read

    def wake(self) -> None:
        """Make it readable. Never blocks and never raises: a full pipe is readable already."""
        if self._closed:
            return
        try:
            os.write(self._write, b"\0")
        except OSError:
            return

    def wait(self, seconds: float) -> None:
        """Wait for ``wake``, for so long."""
        poller = select.poll()
        poller.register(self._read, select.POLLIN)
        poller.poll(round(seconds * 1000 + 0.499))

    def drain(self) -> bool:
        """Take what was written. Returns whether somebody had called ``wake``."""
        try:
            return bool(os.read(self._read, 4096))
        except BlockingIOError:
            return False

    def close(self) -> None:
        """Close both ends; a second call does nothing."""
        if not self._closed:
            self._closed = True
            os.close(self._read)
            os.close(self._write)
