"""Which task sent which: the graph that ``AsyncResult.graph`` returns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import IO, Any


class GraphFormatter:
    """Writes a graph's parts in Graphviz's language. A subclass changes what it wants to look different.

    Args:
        root: the result that all began with.
        type: ``digraph`` or ``graph``.
        id: the graph's name.
        scheme: attributes of every node and edge, such as ``shape="oval"``.
    """

    def __init__(self, root: Any = None, type: str = "digraph", id: str = "dependencies", **scheme: Any) -> None:
        self.root = root
        self.type = type
        self.id = id
        self.scheme = scheme

    def label(self, node: Any) -> Any:
        """What is written of a node."""
        return node

    def attrs(self, attributes: dict[str, Any]) -> str:
        """Attributes in brackets; nothing when there are none."""
        shown = ", ".join(f'{name}="{value}"' for name, value in {**self.scheme, **attributes}.items())
        return f" [{shown}]" if shown else ""

    def head(self, **attributes: Any) -> str:
        """The first line."""
        return f"{self.type} {self.id} {{"

    def tail(self) -> str:
        """The last line."""
        return "}"

    def node(self, node: Any, **attributes: Any) -> str:
        """A node that sent others."""
        return f'    "{self.label(node)}"{self.attrs(attributes)};'

    def terminal_node(self, node: Any, **attributes: Any) -> str:
        """A node that sent none."""
        return self.node(node, **attributes)

    def edge(self, parent: Any, child: Any, **attributes: Any) -> str:
        """The line between two."""
        arrow = "->" if self.type == "digraph" else "--"
        return f'    "{self.label(parent)}" {arrow} "{self.label(child)}"{self.attrs(attributes)};'


class DependencyGraph:
    """A directed graph without circles, in the order in which its nodes were found.

    Args:
        it: nodes, each with those that it points to.
        formatter: how ``to_dot`` writes it.
    """

    def __init__(self, it: Iterable[tuple[Any, Iterable[Any]]] | None = None, formatter: Any = None) -> None:
        self.formatter = formatter or GraphFormatter()
        self.adjacent: dict[Any, list[Any]] = {}
        if it is not None:
            self.update(it)

    def add_arc(self, node: Any) -> None:
        """Add a node."""
        self.adjacent.setdefault(node, [])

    def add_edge(self, parent: Any, child: Any) -> None:
        """Say that ``parent`` sent ``child``."""
        self.add_arc(child)
        self.adjacent.setdefault(parent, []).append(child)

    def connect(self, graph: DependencyGraph) -> None:
        """Add the nodes of another graph."""
        self.adjacent.update(graph.adjacent)

    def update(self, it: Iterable[tuple[Any, Iterable[Any]]]) -> None:
        """Add nodes, each with those that it points to."""
        for node, children in it:
            self.add_arc(node)
            for child in children:
                self.add_edge(node, child)

    def topsort(self) -> list[Any]:
        """All nodes, each after those that it points to."""
        found: dict[Any, None] = {}
        for start in self.adjacent:
            ahead = [(start, iter(self.adjacent[start]))]
            entered = {start}
            while ahead:
                node, children = ahead[-1]
                child = next((child for child in children if child not in found and child not in entered), None)
                if child is None:
                    found.setdefault(node)
                    ahead.pop()
                else:
                    entered.add(child)
                    ahead.append((child, iter(self.adjacent[child])))
        return list(found)

    def valency_of(self, node: Any) -> int:
        """How many edges lead on from a node and from those behind it, each counted once a way to it."""
        counted: dict[Any, int] = {}
        for each in self.topsort():
            children = self.adjacent[each]
            counted[each] = len(children) + sum(counted.get(child, 0) for child in children)
        return counted.get(node, 0)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.adjacent)

    def __len__(self) -> int:
        return len(self.adjacent)

    def __contains__(self, node: object) -> bool:
        return node in self.adjacent

    def __getitem__(self, node: Any) -> list[Any]:
        return self.adjacent[node]

    def items(self) -> Iterator[tuple[Any, list[Any]]]:
        """Each node with those that it points to."""
        return iter(self.adjacent.items())

    iteritems = items

    def edges(self) -> Iterator[Any]:
        """The nodes that point to others."""
        return (node for node, children in self.adjacent.items() if children)

    def to_dot(self, fh: IO[str] | None = None, formatter: Any = None) -> str:
        """The graph in Graphviz's language, also written to ``fh`` when it is given."""
        draw = formatter or self.formatter
        lines = [draw.head()]
        for node, children in self.adjacent.items():
            lines.append(draw.node(node) if children else draw.terminal_node(node))
            lines += [draw.edge(node, child) for child in children]
        lines.append(draw.tail())
        # Celery's formatters write bytes.
        text = "\n".join(line.decode() if isinstance(line, bytes) else line for line in lines)
        if fh is not None:
            print(text, file=fh)
        return text

    def format(self, node: Any) -> Any:
        """What is written of a node."""
        return self.formatter.label(node)

    def repr_node(self, node: Any, level: int = 1) -> str:
        """A node and those behind it, a line each, with how many edges lead on from there."""
        lines = [f"{node}({self.valency_of(node)})"] if level == 1 else []
        for child in self.adjacent.get(node, ()):
            lines.append(f"{'     ' * level}{child}({self.valency_of(child)})")
            lines += filter(None, [self.repr_node(child, level + 1)])
        return "\n".join(lines)

    def __repr__(self) -> str:
        return "\n".join(self.repr_node(node) for node in self.adjacent)
