"""The children that there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from umbel_pool_prefork.slot import Slot
from umbel_pool_prefork.watcher import Watcher, make_watcher


class Brood:
    """All children of a pool, and the watch on what they and the fork server say.

    Attributes:
        working: those that take jobs, or soon will.
        parting: those that leave.
        watcher: None until ``watch_over``.
    """

    def __init__(self) -> None:
        self.working: list[Slot] = []
        self.parting: list[Slot] = []
        self.watcher: Watcher | None = None
        self._by_file: dict[int, Slot] = {}

    def __iter__(self) -> Iterator[Slot]:
        return iter([*self.working, *self.parting])

    def watch_over(self, wake: Callable[[], None]) -> Watcher:
        """Begin to watch; ``wake`` is called from a thread once the watcher is started."""
        self.watcher = make_watcher(wake)
        return self.watcher

    def indexes(self) -> set[int]:
        """The places of those that work."""
        return {slot.index for slot in self.working}

    def numbered(self, number: int) -> Slot | None:
        """The child of a number."""
        return next((slot for slot in self if slot.number == number), None)

    def running(self, job_id: int) -> tuple[Slot | None, int]:
        """The child that runs a job, and the job's number there; None and 0 when it does not run."""
        for slot in self:
            running = slot.running()
            if running is not None and running[1].id == job_id:
                return slot, running[0]
        return None, 0

    def ready(self) -> list[Slot]:
        """Those that have something to say, or take more of what is to be sent."""
        files = self.watcher.ready() if self.watcher is not None else ()
        return [self._by_file[file] for file in files if file in self._by_file]

    def add(self, slot: Slot) -> None:
        """One more."""
        self.working.append(slot)
        self._by_file[slot.connection.fileno()] = slot
        self.watch(slot)

    def part(self, slot: Slot) -> None:
        """One leaves."""
        if slot in self.working:
            self.working.remove(slot)
            self.parting.append(slot)

    def remove(self, slot: Slot) -> None:
        """One has ended."""
        self.unwatch(slot.connection.fileno())
        self._by_file.pop(slot.connection.fileno(), None)
        for slots in (self.working, self.parting):
            if slot in slots:
                slots.remove(slot)

    def watch(self, slot: Slot) -> None:
        """For what it writes; and for room to write to it, while there is more to send."""
        if self.watcher is not None:
            self.watcher.watch(slot.connection.fileno(), writable=slot.backlogged)

    def watch_file(self, file: int) -> None:
        """For something to read from a descriptor that is no child's."""
        if self.watcher is not None:
            self.watcher.watch(file)

    def unwatch(self, file: int) -> None:
        """No longer."""
        if self.watcher is not None:
            self.watcher.unwatch(file)

    def abandon(self) -> None:
        """In a new fork server: close what belongs to the pool."""
        if self.watcher is not None:
            self.watcher.abandon()
        for slot in self:
            slot.connection.close()

    def close(self) -> None:
        """Forget all."""
        watcher, self.watcher = self.watcher, None
        if watcher is not None:
            watcher.close()
        self.working.clear()
        self.parting.clear()
        self._by_file.clear()
