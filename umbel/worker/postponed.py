"""What follows from tasks that ended while the connection was lost, until it is sure that they are still held."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from umbel.app.outbox import Outgoing
from umbel.worker.held import Held, tell_refused
from umbel_kernel.spi.backend import Record
from umbel_kernel.spi.message import Delivery


class Postponed:
    """Keeps messages and results of tasks whose lease may have run out."""

    def __init__(self) -> None:
        self._kept: list[tuple[Held, list[Outgoing], list[Record]]] = []

    def keep(self, held: Held, outgoing: Sequence[Outgoing], records: Sequence[Record]) -> None:
        """Let these wait."""
        if outgoing or records:
            self._kept.append((held, list(outgoing), list(records)))

    def refuse(self, gone: Collection[Delivery]) -> list[Outgoing]:
        """Drop what follows from tasks that others have by now, and say so.

        Returns:
            The ends of chords that they have completed: those are told once, and whoever has the task is not told.
        """
        refused = [kept for kept in self._kept if kept[0].delivery in gone]
        self._kept = [kept for kept in self._kept if kept[0].delivery not in gone]
        for held, _, _ in refused:
            tell_refused(held)
        return [each for _, outgoing, _ in refused for each in outgoing if each.ends]

    def release(self) -> tuple[list[Outgoing], list[Record]]:
        """All that waits, to be handed over now."""
        kept, self._kept = self._kept, []
        return [each for _, outgoing, _ in kept for each in outgoing], [
            each for *_, records in kept for each in records
        ]
