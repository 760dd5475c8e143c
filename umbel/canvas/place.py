"""Where a signature stands in the workflow that it is sent in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(slots=True)
class Place:
    """What a part of a workflow reports to, and what it comes from.

    Attributes:
        group_id: the group it is in.
        chord: the body of the chord in whose header it is.
        root_id: the id of the task that all began with.
        parent_id: the id of the task that sends it.
    """

    group_id: str | None = None
    chord: Any = None
    root_id: str | None = None
    parent_id: str | None = None

    def inside(self) -> Place:
        """That of a part which begins where this one does, and reports to nobody outside."""
        return Place(None, None, self.root_id, self.parent_id)

    def later(self) -> Place:
        """That of a part which ends where this one does, and is sent by a part before it."""
        return Place(self.group_id, self.chord, self.root_id)
