"""A consumer that takes a message by moving its file into a folder of its own."""

from __future__ import annotations

import logging
import os
import select
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from umbel_broker_directory.envelope import Origin, unpack
from umbel_broker_directory.holder import Holder
from umbel_broker_directory.store import Store, again
from umbel_kernel.errors import OperationalError
from umbel_kernel.spi.broker import Consumer, Delay
from umbel_kernel.spi.message import Delivery

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_LOOKS_FOR_THE_DEAD = 1.0


class DirectoryConsumer(Consumer):
    """Reads some queues of one directory.

    A rename is atomic: of two consumers one gets the file, and one that is killed has either not moved it, or holds it
    in a folder that others give back because its lock is open.
    """

    def __init__(
        self, store: Store, queues: Sequence[str], *, poll: float, on_close: Callable[[DirectoryConsumer], None]
    ) -> None:
        self._store = store
        self._queues = list(queues)
        self._poll = poll
        self._on_close = on_close
        self._holder = Holder(store.holders)
        self._held: dict[str, Path] = {}
        self._closed = False
        self._next_look = 0.0
        self._awake, self._alarm = socket.socketpair()
        self._awake.setblocking(False)
        self._alarm.setblocking(False)

    def receive(self, limit: int, timeout: float | None) -> list[Delivery]:
        """See ``Consumer.receive``."""
        end = None if timeout is None else time.monotonic() + timeout
        try:
            while True:
                if found := self._take(limit):
                    return found
                left = None if end is None else end - time.monotonic()
                if left is not None and left <= 0:
                    return []
                if self._wait(self._poll if left is None else min(self._poll, left)):
                    return []
        except OSError as error:
            raise OperationalError(f"cannot read messages in {self._store.root}: {error}") from error

    def _wait(self, seconds: float) -> bool:
        """Wait; returns whether somebody called ``wake``."""
        if not select.select([self._awake], [], [], seconds)[0]:
            return False
        self._awake.recv(4096)
        return True

    def _take(self, limit: int) -> list[Delivery]:
        found: list[Delivery] = []
        look = time.monotonic() >= self._next_look
        if look:
            self._next_look = time.monotonic() + SECONDS_BETWEEN_LOOKS_FOR_THE_DEAD
        for queue in self._queues:
            if look:
                self._store.give_back_of_the_dead(queue)
            while len(found) < limit and (names := self._store.first(queue, limit - len(found))):
                for name in names:
                    if delivery := self._claim(queue, name):
                        found.append(delivery)
        return found

    def _claim(self, queue: str, name: str) -> Delivery | None:
        mine = self._store.held(queue, self._holder.name)
        mine.mkdir(parents=True, exist_ok=True)
        path = mine / name
        try:
            os.rename(self._store.waiting(queue) / name, path)
        except FileNotFoundError:
            return None  # another consumer was quicker
        tag = f"{queue}/{name}"
        try:
            delivery = unpack(path.read_bytes(), Origin(queue, tag, int(name.partition(".")[2] or 0)))
        except ValueError as error:
            logger.error("%s of queue %s is no message and goes to the folder 'broken': %s", name, queue, error)
            path.rename(self._store.root / "broken" / name)
            return None
        self._held[tag] = path
        return delivery

    def ack(self, deliveries: Sequence[Delivery]) -> None:
        """See ``Consumer.ack``."""
        try:
            for delivery in deliveries:
                path = self._held.pop(delivery.tag, None)
                if path is not None:
                    path.unlink(missing_ok=True)
        except OSError as error:
            raise OperationalError(f"cannot acknowledge in {self._store.root}: {error}") from error

    def reject(self, deliveries: Sequence[Delivery], *, requeue: bool, delay: Delay = None) -> None:
        """See ``Consumer.reject``. A delay is passed over."""
        if not requeue:
            self.ack(deliveries)
            return
        try:
            for delivery in deliveries:
                path = self._held.pop(delivery.tag, None)
                if path is not None and path.exists():
                    path.rename(self._store.waiting(delivery.queue) / again(path.name))
        except OSError as error:
            raise OperationalError(f"cannot give back in {self._store.root}: {error}") from error

    def wake(self) -> None:
        """See ``Consumer.wake``."""
        try:
            self._alarm.send(b"!")
        except OSError:
            return  # it is closed, or is being woken already

    def close(self) -> None:
        """See ``Consumer.close``."""
        if self._closed:
            return
        self._closed = True
        self._held.clear()
        self._on_close(self)
        try:
            for queue in self._queues:
                self._store.give_back(queue, self._holder.name)
            self._holder.release()
        except OSError as error:
            # The lock is let go, so whoever reads next gives back what is left.
            logger.warning("cannot give back what was held in %s: %s", self._store.root, error)
            self._holder.let_go()
        self._awake.close()
        self._alarm.close()
