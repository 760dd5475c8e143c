"""A dependency graph that is put in order the same way every time."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from umbel_kernel.errors import CircularDependency


class Graph:
    """Names and what each of them needs to come before it."""

    def __init__(self, needs: Mapping[str, Iterable[str]]) -> None:
        self.needs: dict[str, tuple[str, ...]] = {name: tuple(sorted(set(of))) for name, of in needs.items()}
        self.needs |= {need: () for of in list(self.needs.values()) for need in of if need not in self.needs}

    def order(self) -> list[str]:
        """Every name after all that it needs; among equals, by name.

        Raises:
            CircularDependency: some need each other; it has the circle.
        """
        waiting = {name: set(of) for name, of in self.needs.items()}
        found: list[str] = []
        while waiting:
            ready = [name for name, of in waiting.items() if not of]
            if not ready:
                raise CircularDependency(self._circle(set(waiting)))
            found.append(min(ready))
            del waiting[found[-1]]
            for of in waiting.values():
                of.discard(found[-1])
        return found

    def _circle(self, among: set[str]) -> list[str]:
        """One circle among names of which each is on one or leads into one."""
        name = min(among)
        path: list[str] = []
        while name not in path:
            path.append(name)
            name = min(need for need in self.needs[name] if need in among)
        circle = path[path.index(name) :]
        start = circle.index(min(circle))
        circle = circle[start:] + circle[:start]
        return [*circle, circle[0]]

    def to_dot(self, title: str = "") -> str:
        """The graph in Graphviz's language; an arrow points from a step to what it needs."""
        lines = [f'digraph "{title or "steps"}" {{', "  rankdir=LR;", "  node [shape=box, style=rounded];"]
        lines += [f'  "{name}";' for name in self.order()]
        lines += [f'  "{name}" -> "{need}";' for name in self.order() for need in self.needs[name]]
        return "\n".join([*lines, "}"])

    def to_mermaid(self) -> str:
        """The graph as a Mermaid flowchart; an arrow points from a step to what it needs."""
        ids = {name: f"n{number}" for number, name in enumerate(self.order())}
        lines = ["flowchart LR", *(f'  {ids[name]}["{name}"]' for name in ids)]
        lines += [f"  {ids[name]} --> {ids[need]}" for name in ids for need in self.needs[name]]
        return "\n".join(lines)

    def to_json(self) -> str:
        """The order and the needs, as JSON."""
        return json.dumps({"order": self.order(), "needs": self.needs}, indent=2)
