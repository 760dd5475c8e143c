"""Which task sent which: the graph that ``AsyncResult.graph`` returns."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any


class DependencyGraph:
    """A directed graph of results, in the order in which they were found."""

    def __init__(self, root: Any = None) -> None:
        self.root = root
        self.adjacent: dict[Any, list[Any]] = {}

    def add_arc(self, node: Any) -> None:
        """Add a result."""
        self.adjacent.setdefault(node, [])

    def add_edge(self, parent: Any, child: Any) -> None:
        """Say that ``parent`` sent ``child``."""
        self.add_arc(child)
        self.adjacent.setdefault(parent, []).append(child)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.adjacent)

    def __len__(self) -> int:
        return len(self.adjacent)

    def __contains__(self, node: object) -> bool:
        return node in self.adjacent

    def __getitem__(self, node: Any) -> list[Any]:
        return self.adjacent[node]

    def items(self) -> Iterator[tuple[Any, list[Any]]]:
        """Each result with those that it sent."""
        return iter(self.adjacent.items())

    def edges(self) -> list[Any]:
        """The results that sent others."""
        return [node for node, children in self.adjacent.items() if children]

    def to_dot(self) -> str:
        """The graph in Graphviz's language."""
        lines = [f'    "{node}";' for node in self.adjacent]
        lines += [f'    "{node}" -> "{child}";' for node, children in self.adjacent.items() for child in children]
        return "\n".join(["digraph results {", *lines, "}"])
