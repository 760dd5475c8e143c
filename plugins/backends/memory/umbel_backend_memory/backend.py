"""The in-process result backend."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from umbel_backend_memory.store import SWEEP_FIRST, Chord, MemoryStore
from umbel_kernel.clock import SYSTEM_CLOCK, Clock
from umbel_kernel.spi.backend import READY_STATES, Backend, BackendCapability, ChordPart, Record
from umbel_kernel.url import URL


class MemoryBackend(Backend):
    """Results inside this process; all backends of one URL path share them.

    Args:
        clock: what expiry goes by.
    """

    capabilities = frozenset(
        {
            BackendCapability.PUSH,
            BackendCapability.EXPIRES,
            BackendCapability.GROUPS,
            BackendCapability.CHORDS,
            BackendCapability.CHORD_GROWTH,
            BackendCapability.FENCE,
        }
    )

    def __init__(
        self,
        url: URL,
        options: Mapping[str, Any] | None = None,
        *,
        state_of: Callable[[bytes], str],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        super().__init__(url, options, state_of=state_of)
        self._clock = clock
        self._store = MemoryStore.named(f"{url.host or ''}{url.path.rstrip('/')}")

    def connect(self, *, timeout: float) -> None:
        """See ``Backend.connect``. There is nothing to reach."""

    def store(self, records: Sequence[Record], *, timeout: float = 5.0) -> None:
        """See ``Backend.store``."""
        store, now = self._store, self._clock.monotonic()
        told: set[threading.Event] = set()
        with store.lock:
            store.sweep(now, every=SWEEP_FIRST)
            for record in records:
                kept = store.records.get(record.task_id, now)
                if kept is not None and (
                    (kept.state == "SUCCESS" and record.state != "SUCCESS") or kept.fence > record.fence
                ):
                    continue
                store.records.put(record.task_id, replace(record), self._until(record.expires, now))
                if record.state in READY_STATES:
                    told |= store.waiting.get(record.task_id, set())
        for event in told:
            event.set()

    def fetch(self, task_ids: Sequence[str], *, timeout: float = 5.0) -> dict[str, Record]:
        """See ``Backend.fetch``."""
        with self._store.lock:
            return self._find(task_ids)

    def wait(self, task_ids: Sequence[str], *, timeout: float | None) -> dict[str, Record]:
        """See ``Backend.wait``."""
        store = self._store
        end = None if timeout is None else self._clock.monotonic() + timeout
        event = threading.Event()
        try:
            while True:
                event.clear()
                with store.lock:
                    found = {name: of for name, of in self._find(task_ids).items() if of.state in READY_STATES}
                    if not found:
                        for task_id in task_ids:
                            store.waiting.setdefault(task_id, set()).add(event)
                left = None if end is None else end - self._clock.monotonic()
                if found or (left is not None and left <= 0):
                    return found
                event.wait(left)
        finally:
            with store.lock:
                for task_id in task_ids:
                    events = store.waiting.get(task_id)
                    if events is not None:
                        events.discard(event)
                        if not events:
                            del store.waiting[task_id]

    def forget(self, task_ids: Sequence[str], *, timeout: float = 5.0) -> None:
        """See ``Backend.forget``."""
        with self._store.lock:
            for task_id in task_ids:
                self._store.records.drop(task_id)

    def store_group(self, group_id: str, body: bytes, *, expires: float | None, timeout: float = 5.0) -> None:
        """See ``Backend.store_group``."""
        with self._store.lock:
            self._store.groups.put(group_id, body, self._until(expires, self._clock.monotonic()))

    def fetch_group(self, group_id: str, *, timeout: float = 5.0) -> bytes | None:
        """See ``Backend.fetch_group``."""
        with self._store.lock:
            return self._store.groups.get(group_id, self._clock.monotonic())

    def forget_group(self, group_id: str, *, timeout: float = 5.0) -> None:
        """See ``Backend.forget_group``."""
        with self._store.lock:
            self._store.groups.drop(group_id)

    def begin_chord(self, group_id: str, size: int, *, expires: float | None, timeout: float = 5.0) -> None:
        """See ``Backend.begin_chord``."""
        now = self._clock.monotonic()
        with self._store.lock:
            chord = self._store.chords.get(group_id, now)
            if chord is not None and chord.ended is not None:
                self._store.chords.drop(group_id)

    def chord_parts(self, parts: Sequence[ChordPart], *, timeout: float = 5.0) -> list[bool]:
        """See ``Backend.chord_parts``."""
        now = self._clock.monotonic()
        with self._store.lock:
            return [self._chord(part.group_id, part.expires).count(part, now) for part in parts]

    def chord_bodies(self, part: ChordPart, *, timeout: float = 5.0) -> list[bytes] | None:
        """See ``Backend.chord_bodies``."""
        with self._store.lock:
            return self._chord(part.group_id, part.expires).bodies(part.run)

    def chord_end(self, group_id: str, run: str, *, expires: float | None, timeout: float = 5.0) -> bool:
        """See ``Backend.chord_end``."""
        with self._store.lock:
            return self._chord(group_id, expires).end(run)

    def chord_add(
        self, group_id: str, size: int, member: str, *, expires: float | None, timeout: float = 5.0
    ) -> int | None:
        """See ``Backend.chord_add``."""
        with self._store.lock:
            return self._chord(group_id, expires).add(size, member)

    def _chord(self, group_id: str, expires: float | None) -> Chord:
        """A header, kept from now on for so long; within the lock."""
        now = self._clock.monotonic()
        chord = self._store.chords.get(group_id, now) or Chord()
        self._store.chords.put(group_id, chord, self._until(expires, now))
        return chord

    def cleanup(self, *, timeout: float = 60.0) -> int:
        """See ``Backend.cleanup``. What has expired is gone already; this frees its memory, and counts nothing."""
        with self._store.lock:
            self._store.sweep(self._clock.monotonic())
        return 0

    def close(self) -> None:
        """See ``Backend.close``. What was stored stays for the other backends of this process."""

    def _find(self, task_ids: Sequence[str]) -> dict[str, Record]:
        now, kept = self._clock.monotonic(), self._store.records
        return {task_id: replace(record) for task_id in task_ids if (record := kept.get(task_id, now)) is not None}

    @staticmethod
    def _until(expires: float | None, now: float) -> float | None:
        return None if expires is None else now + expires
