"""A result backend for any store that has get, set, delete and an atomic counter."""

from __future__ import annotations

import time
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from umbel_kernel.clock import SYSTEM_CLOCK, Clock
from umbel_kernel.spi.backend import CHORD_CLAIM, READY_STATES, Backend, BackendCapability, ChordPart, Record
from umbel_kernel.url import URL


class KeyValueBackend(Backend):
    """Implement ``connect``, ``close`` and the four primitives; the rest is here, as ``Backend`` says.

    Keys are Celery's: ``celery-task-meta-<id>`` and ``celery-taskset-meta-<id>``. ``wait`` polls, from every
    millisecond at first to every ``poll_longest`` seconds.
    """

    capabilities = frozenset(
        {BackendCapability.GROUPS, BackendCapability.CHORDS, BackendCapability.SHARED, BackendCapability.EXPIRES}
    )
    task_prefix = "celery-task-meta-"
    group_prefix = "celery-taskset-meta-"
    poll_longest = 0.5

    def __init__(
        self,
        url: URL,
        options: Mapping[str, Any] | None = None,
        *,
        state_of: Callable[[bytes], str],
        clock: Clock = SYSTEM_CLOCK,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(url, options, state_of=state_of)
        self._clock = clock
        self._sleep = sleep

    @abstractmethod
    def get(self, keys: Sequence[str], *, timeout: float) -> list[bytes | None]:
        """The value of each key, in order; None for a key that is not there."""

    @abstractmethod
    def set(self, values: Mapping[str, bytes], *, expires: float | None, timeout: float) -> None:
        """Set these, to be dropped after ``expires`` seconds."""

    @abstractmethod
    def delete(self, keys: Sequence[str], *, timeout: float) -> None:
        """Drop these; a key that is not there is passed over."""

    @abstractmethod
    def increment(self, key: str, *, expires: float | None, timeout: float) -> int:
        """Add one to a counter that starts at 0, atomically among all processes, and return it."""

    def store(self, records: Sequence[Record], *, timeout: float = 5.0) -> None:
        """The check for a first success and the write are two steps here."""
        kept = self.fetch([record.task_id for record in records], timeout=timeout)
        for record in records:
            earlier = kept.get(record.task_id)
            if earlier is not None and earlier.state == "SUCCESS" and record.state != "SUCCESS":
                continue
            kept[record.task_id] = record
            self.set({self.task_prefix + record.task_id: record.body}, expires=record.expires, timeout=timeout)

    def fetch(self, task_ids: Sequence[str], *, timeout: float = 5.0) -> dict[str, Record]:
        bodies = self.get([self.task_prefix + task_id for task_id in task_ids], timeout=timeout)
        found = {task_id: body for task_id, body in zip(task_ids, bodies, strict=True) if body is not None}
        return {task_id: Record(task_id, self.state_of(body), body) for task_id, body in found.items()}

    def wait(self, task_ids: Sequence[str], *, timeout: float | None) -> dict[str, Record]:
        end = None if timeout is None else self._clock.monotonic() + timeout
        pause = 0.001
        while True:
            known = self.fetch(task_ids, timeout=5.0 if timeout is None else max(timeout, 1.0))
            ready = {task_id: record for task_id, record in known.items() if record.state in READY_STATES}
            left = None if end is None else end - self._clock.monotonic()
            if ready or (left is not None and left <= 0):
                return ready
            self._sleep(pause if left is None else min(pause, left))
            pause = min(pause * 1.5, self.poll_longest)

    def forget(self, task_ids: Sequence[str], *, timeout: float = 5.0) -> None:
        self.delete([self.task_prefix + task_id for task_id in task_ids], timeout=timeout)

    def store_group(self, group_id: str, body: bytes, *, expires: float | None, timeout: float = 5.0) -> None:
        self.set({self.group_prefix + group_id: body}, expires=expires, timeout=timeout)

    def fetch_group(self, group_id: str, *, timeout: float = 5.0) -> bytes | None:
        return self.get([self.group_prefix + group_id], timeout=timeout)[0]

    def forget_group(self, group_id: str, *, timeout: float = 5.0) -> None:
        self.delete([self.group_prefix + group_id], timeout=timeout)

    def chord_parts(self, parts: Sequence[ChordPart], *, timeout: float = 5.0) -> list[bool]:
        """Each part has a key of its own, and whoever finds them all asks a counter whether it is the first."""
        headers: dict[str, list[int]] = {}
        for at, part in enumerate(parts):
            headers.setdefault(part.group_id, []).append(at)
        told = [False] * len(parts)
        for places in headers.values():
            for at, mine in zip(places, self._count([parts[at] for at in places], timeout), strict=True):
                told[at] = mine
        return told

    def _count(self, parts: Sequence[ChordPart], timeout: float) -> list[bool]:
        """Count parts of one header."""
        base, size, expires = self._base(parts[0].group_id), parts[0].size, parts[0].expires
        keys = [f"{base}{part.index}" for part in parts]
        ended, claim, *found = self.get([f"{base}end", f"{base}claim", *keys], timeout=timeout)
        told = [False] * len(parts)
        if ended is not None:
            return told
        last = 0
        if claim is None:
            kept, fresh = dict(zip(keys, found, strict=True)), {}
            for at, (key, part) in enumerate(zip(keys, parts, strict=True)):
                earlier = kept[key]
                if earlier is None:
                    last = at
                if earlier is None or _gives_way(earlier, part):
                    kept[key] = fresh[key] = b"%d %d %s" % (part.fence, part.state == "SUCCESS", part.body)
            if fresh:
                self.set(fresh, expires=expires, timeout=timeout)
            if len(self._kept(base, size, timeout)) < size:
                return told
            if self.increment(f"{base}done", expires=expires, timeout=timeout) != 1:
                claim = self._appears(f"{base}claim", timeout)
        for at in range(last, len(parts)):
            part = parts[at]
            if claim is not None:
                place, _, until, run = claim.decode().split(" ", 3)
                if int(place) != part.index and run != part.run and self._clock.time() < float(until):
                    continue
            claim = f"{part.index} {size} {self._clock.time() + CHORD_CLAIM} {part.run}".encode()
            self.set({f"{base}claim": claim}, expires=expires, timeout=timeout)
            told[at] = True
        return told

    def _kept(self, base: str, size: int, timeout: float) -> list[bytes]:
        """The parts that are there, in the order of their indexes."""
        kept = self.get([f"{base}{index}" for index in range(size)], timeout=timeout)
        return [value for value in kept if value is not None]

    def chord_bodies(self, part: ChordPart, *, timeout: float = 5.0) -> list[bytes] | None:
        base = self._base(part.group_id)
        ended, claim = self.get([f"{base}end", f"{base}claim"], timeout=timeout)
        if ended is not None or claim is None or claim.decode().split(" ", 3)[3] != part.run:
            return None
        return [value.split(b" ", 2)[2] for value in self._kept(base, part.size, timeout)]

    def chord_end(self, group_id: str, run: str, *, expires: float | None, timeout: float = 5.0) -> bool:
        """The first to count is the one that counts."""
        base = self._base(group_id)
        ended, claim = self.get([f"{base}end", f"{base}claim"], timeout=timeout)
        if ended is None and self.increment(f"{base}ends", expires=expires, timeout=timeout) != 1:
            ended = self._appears(f"{base}end", timeout)
        if ended is not None:
            return ended == run.encode()
        self.set({f"{base}end": run.encode()}, expires=expires, timeout=timeout)
        if claim is not None:
            self.delete([f"{base}{index}" for index in range(int(claim.split(b" ")[1]))], timeout=timeout)
        return True

    def begin_chord(self, group_id: str, size: int, *, expires: float | None, timeout: float = 5.0) -> None:
        """What a header of this name has left is dropped when it has ended."""
        base = self._base(group_id)
        if self.get([f"{base}end"], timeout=timeout)[0] is not None:
            names = [*range(size), "end", "ends", "claim", "done"]
            self.delete([f"{base}{name}" for name in names], timeout=timeout)

    def _base(self, group_id: str) -> str:
        return f"{self.group_prefix}{group_id}."

    def _appears(self, key: str, timeout: float) -> bytes | None:
        """What another is about to set; None when it does not, since its process has died."""
        for _ in range(20):
            found = self.get([key], timeout=timeout)[0]
            if found is not None:
                return found
            self._sleep(0.01)
        return None


def _gives_way(kept: bytes, part: ChordPart) -> bool:
    """Whether a part that was kept is to be replaced by another of its index."""
    fence, success, _ = kept.split(b" ", 2)
    return int(fence) <= part.fence and (success == b"0" or part.state == "SUCCESS")
