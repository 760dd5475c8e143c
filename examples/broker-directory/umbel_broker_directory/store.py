"""Where things lie in the directory.

``bindings.json``                     exchanges and what is bound to them
``lock``                              locked by whoever changes the bindings or publishes
``next``                              the number of the next message
``holders/<consumer>``                locked as long as a consumer lives
``queues/<queue>/waiting/<n>.<d>``    message number n, delivered d times before
``queues/<queue>/held/<consumer>/``   what a consumer holds, under the same names
``broken/``                           files that were found waiting and are no messages
"""

from __future__ import annotations

import contextlib
import fcntl
import heapq
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from umbel_broker_directory.holder import is_dead
from umbel_kernel.spi.topology import Exchange

Bindings = dict[str, dict[str, list[str]]]
"""For each exchange, the queues that each routing key leads to; in a fanout exchange the key is ``*``."""


class Store:
    """The directory. Its methods raise ``OSError``; the broker says where it happened."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.holders = root / "holders"
        self._queues = root / "queues"

    def create(self) -> None:
        """Make the folders; harmless when they are there."""
        for folder in (self.holders, self._queues, self.root / "broken"):
            folder.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other thread and process from changing the bindings or publishing."""
        file = os.open(self.root / "lock", os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        finally:
            os.close(file)

    def waiting(self, queue: str) -> Path:
        """The folder of what waits in a queue."""
        return self._folder(queue) / "waiting"

    def held(self, queue: str, holder: str) -> Path:
        """The folder of what a consumer holds of a queue."""
        return self._folder(queue) / "held" / holder

    def _folder(self, queue: str) -> Path:
        # A dot is left alone by quote, and two of them would lead out of the folder.
        return self._queues / quote(queue, safe="").replace(".", "%2E")

    def first(self, queue: str, count: int) -> list[str]:
        """The names of the oldest waiting messages."""
        try:
            return heapq.nsmallest(count, os.listdir(self.waiting(queue)))
        except FileNotFoundError:
            return []

    def size(self, queue: str) -> int:
        """How many messages wait."""
        try:
            return len(os.listdir(self.waiting(queue)))
        except FileNotFoundError:
            return 0

    def bind(self, queue: str, exchange: Exchange, routing_key: str) -> None:
        """Bind a queue, with the lock held."""
        bindings = self.bindings()
        key = "*" if exchange.type == "fanout" else f"={routing_key}"
        queues = bindings.setdefault(exchange.name, {}).setdefault(key, [])
        if queue not in queues:
            queues.append(queue)
            self._write_bindings(bindings)

    def bindings(self) -> Bindings:
        """What is bound to what."""
        try:
            found: Bindings = json.loads((self.root / "bindings.json").read_text("utf-8"))
        except FileNotFoundError:
            return {}
        return found

    def _write_bindings(self, bindings: Bindings) -> None:
        new = self.root / "bindings.new"
        new.write_text(json.dumps(bindings), "utf-8")
        new.replace(self.root / "bindings.json")

    def add(self, queue: str, data: bytes) -> None:
        """Put a message at the end of a queue, which is made if need be, with the lock held."""
        number = self._next()
        new = self.root / "message.new"
        new.write_bytes(data)
        waiting = self.waiting(queue)
        waiting.mkdir(parents=True, exist_ok=True)
        new.rename(waiting / f"{number:020d}.0")

    def _next(self) -> int:
        path = self.root / "next"
        number = int(path.read_text("ascii")) if path.exists() else 0
        new = self.root / "next.new"
        new.write_text(str(number + 1), "ascii")
        new.replace(path)
        return number

    def delete(self, queue: str) -> None:
        """Drop a queue, what is in it and what leads to it, with the lock held."""
        bindings = self.bindings()
        left = {
            exchange: {
                key: rest for key, queues in keys.items() if (rest := [name for name in queues if name != queue])
            }
            for exchange, keys in bindings.items()
        }
        self._write_bindings({exchange: keys for exchange, keys in left.items() if keys})
        shutil.rmtree(self._folder(queue), ignore_errors=True)

    def give_back(self, queue: str, holder: str) -> None:
        """Let all that a consumer holds of a queue wait again, where it stood."""
        held = self.held(queue, holder)
        if not held.is_dir():
            return
        for name in os.listdir(held):
            with contextlib.suppress(FileNotFoundError):
                (held / name).rename(self.waiting(queue) / again(name))
        with contextlib.suppress(OSError):
            held.rmdir()

    def give_back_of_the_dead(self, queue: str) -> None:
        """Let what killed consumers held of a queue wait again."""
        folder = self._folder(queue) / "held"
        for holder in os.listdir(folder) if folder.is_dir() else ():
            if is_dead(self.holders, holder):
                self.give_back(queue, holder)


def again(name: str) -> str:
    """The name of a message that was delivered once more."""
    number, _, deliveries = name.partition(".")
    return f"{number}.{int(deliveries) + 1}"
