"""The named stores of this process: results, groups and chords that several backends share."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

from umbel_kernel.spi.backend import CHORD_CLAIM, ChordPart, Record

V = TypeVar("V")
SWEEP_FIRST = 10_000
"""How many more records than after the last sweep bring the next."""
_stores: dict[str, MemoryStore] = {}


@dataclass(slots=True)
class Chord:
    """What is known of a header.

    Attributes:
        parts: those that have come, by index.
        added: the indexes of members that were added, by their names.
        claim: who was given all parts: its index, its run, and until when (monotonic seconds) it has them alone.
        ended: the run that counts, once that is settled.
    """

    parts: dict[int, ChordPart] = field(default_factory=dict)
    added: dict[str, int] = field(default_factory=dict)
    claim: tuple[int, str, float] | None = None
    ended: str | None = None

    def count(self, part: ChordPart, now: float) -> bool:
        """Count a part; whether it is its run's to end the chord."""
        if self.ended is not None:
            return False
        if self.claim is None:
            kept = self.parts.get(part.index)
            if kept is None or (kept.fence <= part.fence and (kept.state != "SUCCESS" or part.state == "SUCCESS")):
                self.parts[part.index] = replace(part)
            if len(self.parts) < part.size + len(self.added):
                return False
        elif part.index != self.claim[0] and part.run != self.claim[1] and now < self.claim[2]:
            return False
        self.claim = (part.index, part.run, now + CHORD_CLAIM)
        return True

    def bodies(self, run: str) -> list[bytes] | None:
        """The bodies of all, if they are this run's to have."""
        if self.ended is not None or self.claim is None or self.claim[1] != run:
            return None
        return [self.parts[index].body for index in sorted(self.parts)]

    def add(self, size: int, member: str) -> int | None:
        """Make room for one more member; its index."""
        if self.claim is not None or self.ended is not None:
            return None
        return self.added.setdefault(member, size + len(self.added))

    def end(self, run: str) -> bool:
        """Whether this run counts; the first does."""
        if self.ended is None:
            self.ended = run
            self.parts.clear()
        return self.ended == run


class Shelf(Generic[V]):
    """Values by name, each with the time (monotonic seconds) after which it is gone, or None."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[V, float | None]] = {}

    def put(self, name: str, value: V, until: float | None) -> None:
        """Keep a value in place of the one before."""
        self._kept[name] = (value, until)

    def get(self, name: str, now: float) -> V | None:
        """The value, unless it is not there or has expired."""
        found = self._kept.get(name)
        if found is None:
            return None
        if found[1] is not None and found[1] <= now:
            del self._kept[name]
            return None
        return found[0]

    def drop(self, name: str) -> None:
        """Forget a value; harmless when it is not there."""
        self._kept.pop(name, None)

    def sweep(self, now: float) -> None:
        """Drop what has expired."""
        for name in [name for name, (_, until) in self._kept.items() if until is not None and until <= now]:
            del self._kept[name]

    def __len__(self) -> int:
        return len(self._kept)


class MemoryStore:
    """What several backends share.

    Attributes:
        lock: held around every use of the shelves and of ``waiting``.
        waiting: by task id, the events to be set when its state is ready.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.records: Shelf[Record] = Shelf()
        self.groups: Shelf[bytes] = Shelf()
        self.chords: Shelf[Chord] = Shelf()
        self.waiting: dict[str, set[threading.Event]] = {}
        self._sweep_at = SWEEP_FIRST

    @classmethod
    def named(cls, name: str) -> MemoryStore:
        """The store of this name; made when it is not there."""
        return _stores.setdefault(name, cls())

    def sweep(self, now: float, *, every: int = 0) -> None:
        """Drop what has expired; with ``every``, only when so much more is kept than after the last sweep."""
        if every and len(self.records) < self._sweep_at:
            return
        for shelf in (self.records, self.groups, self.chords):
            shelf.sweep(now)
        self._sweep_at = len(self.records) + max(every, SWEEP_FIRST)


# A forked child starts empty: the results are the parent's, and the locks may be held by threads that are gone.
os.register_at_fork(after_in_child=_stores.clear)
