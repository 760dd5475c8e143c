"""Wakes the worker's loop when a child has something to say."""

from __future__ import annotations

import logging
import os
import select
import selectors
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from queue import SimpleQueue

logger = logging.getLogger(__name__)


class Watcher(ABC):
    """A set of file descriptors, and a thread that calls ``wake`` when one of them is ready.

    It wakes once and then keeps still until ``arm`` is called, so that a loop that is busy anyway is not disturbed.
    What is ready already when ``arm`` is called wakes at once.

    All but the thread belongs to the loop. The thread holds no lock while it waits, so forking beside it is safe.
    """

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._fired = False
        self._ended = False
        self._thread: threading.Thread | None = None
        self._stop_read, self._stop_write = os.pipe()

    @property
    def descriptor(self) -> int | None:
        """One that is readable while any of the set is ready and ``let`` allows it; None where there is none."""
        return None

    def let(self, allowed: bool) -> None:  # noqa: B027 - a default, not a duty
        """Whether ``descriptor`` tells what is ready. Default: there is none."""

    @abstractmethod
    def watch(self, file: int, *, writable: bool = False) -> None:
        """Begin to watch a descriptor for reading, or also for writing; or change that."""

    @abstractmethod
    def unwatch(self, file: int) -> None:
        """Watch a descriptor no longer."""

    @abstractmethod
    def ready(self) -> list[int]:
        """The descriptors that are ready now."""

    @abstractmethod
    def arm(self) -> None:
        """Let the thread wake again, if it has woken since the last call."""

    @abstractmethod
    def _wait(self) -> None:
        """In the thread: wait until something is ready."""

    @abstractmethod
    def abandon(self) -> None:
        """Close all descriptors; in a fork that has no use for them."""

    def start(self) -> None:
        """Start the thread."""
        self._thread = threading.Thread(target=self._run, name="umbel-prefork-watcher", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread and close everything."""
        self._ended = True
        if self._thread is not None:
            os.write(self._stop_write, b"x")
            self.arm()
            self._thread.join(1.0)
        self.abandon()

    def _run(self) -> None:
        while True:
            self._wait()
            if self._ended:
                return
            self._fired = True
            try:
                self._wake()
            except Exception:
                logger.exception("the worker's loop could not be woken")


class EpollWatcher(Watcher):
    """The watcher on Linux: an epoll of the descriptors inside another that fires once each time it is armed, and
    inside a third that is shown to others."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__(wake)
        self._inner = select.epoll()
        self._outer = select.epoll()
        self._known: set[int] = set()
        self._shown = select.epoll()
        self._allowed = False
        self._shown.register(self._inner, 0)
        self._outer.register(self._inner, select.EPOLLIN | select.EPOLLONESHOT)
        self._outer.register(self._stop_read, select.EPOLLIN)

    @property
    def descriptor(self) -> int | None:
        return self._shown.fileno()

    def let(self, allowed: bool) -> None:
        if allowed != self._allowed:
            self._allowed = allowed
            self._shown.modify(self._inner, select.EPOLLIN if allowed else 0)

    def watch(self, file: int, *, writable: bool = False) -> None:
        mask = select.EPOLLIN | select.EPOLLOUT if writable else select.EPOLLIN
        if file in self._known:
            self._inner.modify(file, mask)
        else:
            self._inner.register(file, mask)
            self._known.add(file)

    def unwatch(self, file: int) -> None:
        if file in self._known:
            self._known.discard(file)
            self._inner.unregister(file)

    def ready(self) -> list[int]:
        return [file for file, _ in self._inner.poll(0)]

    def arm(self) -> None:
        if self._fired:
            self._fired = False
            self._outer.modify(self._inner, select.EPOLLIN | select.EPOLLONESHOT)

    def _wait(self) -> None:
        self._outer.poll()

    def abandon(self) -> None:
        self._outer.close()
        self._shown.close()
        self._inner.close()
        os.close(self._stop_read)
        os.close(self._stop_write)


class GateWatcher(Watcher):
    """The watcher elsewhere: after a wake the thread waits at a gate until it is armed."""

    def __init__(self, wake: Callable[[], None]) -> None:
        super().__init__(wake)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._stop_read, selectors.EVENT_READ)
        self._gate: SimpleQueue[None] = SimpleQueue()
        self._waited = False

    def watch(self, file: int, *, writable: bool = False) -> None:
        mask = selectors.EVENT_READ | selectors.EVENT_WRITE if writable else selectors.EVENT_READ
        if file in self._selector.get_map():
            self._selector.modify(file, mask)
        else:
            self._selector.register(file, mask)

    def unwatch(self, file: int) -> None:
        if file in self._selector.get_map():
            self._selector.unregister(file)

    def ready(self) -> list[int]:
        return [key.fd for key, _ in self._selector.select(0)]

    def arm(self) -> None:
        if self._fired:
            self._fired = False
            self._gate.put(None)

    def _wait(self) -> None:
        if self._waited:
            self._gate.get()
        self._waited = True
        while not self._ended and not self._selector.select():
            pass

    def close(self) -> None:
        self._gate.put(None)
        super().close()

    def abandon(self) -> None:
        self._selector.close()
        os.close(self._stop_read)
        os.close(self._stop_write)


def make_watcher(wake: Callable[[], None]) -> Watcher:
    """The best watcher of this platform."""
    return EpollWatcher(wake) if hasattr(select, "epoll") else GateWatcher(wake)
