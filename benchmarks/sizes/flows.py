"""The workflows that are measured, of no-op tasks, made with the parts of one library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

WIDTH = 10
"""Tasks, or chords, in a chord: nine in its header and a body where it holds tasks, ten where it holds chords."""


def chain(kit: Any, noop: Any, count: int) -> Any:
    return kit.chain([noop.si() for _ in range(count)])


def group(kit: Any, noop: Any, count: int) -> Any:
    return kit.group([noop.si() for _ in range(count)])


def chord(kit: Any, noop: Any, count: int) -> Any:
    return kit.chord([noop.si() for _ in range(count - 1)], noop.si())


def nested(kit: Any, noop: Any, count: int) -> Any:
    """Chords whose headers are of chords, and so on, ten to a header."""
    if count <= WIDTH:
        return chord(kit, noop, count)
    return kit.chord([nested(kit, noop, count // WIDTH) for _ in range(WIDTH)], noop.si())


def binary(kit: Any, noop: Any, count: int) -> Any:
    """Chords of two chords each, down to chords of two tasks."""
    if count <= 4:
        return chord(kit, noop, max(count, 2))
    return kit.chord([binary(kit, noop, (count - 1) // 2) for _ in range(2)], noop.si())


def row(kit: Any, noop: Any, count: int) -> Any:
    """Chords one after another: a task, then nine side by side, then a task, and so on."""
    steps = [noop.si()]
    for _ in range(count // WIDTH):
        steps += [kit.group([noop.si() for _ in range(WIDTH - 1)]), noop.si()]
    return kit.chain(steps)


MOST = {"chords in a row": 100}
"""Tasks above which a workflow is not measured: each further one takes both libraries long to put together."""

FLOWS: dict[str, Callable[[Any, Any, int], Any]] = {
    "chain": chain,
    "group": group,
    "chord": chord,
    "nested chords": nested,
    "binary chords": binary,
    "chords in a row": row,
}
