"""The graph of results."""

from __future__ import annotations

import io
from typing import Any

import pytest

from umbel.results.graph import DependencyGraph, GraphFormatter

EDGES = [("a", ["b", "c"]), ("b", ["d"]), ("c", ["d"]), ("e", [])]


def test_it_answers_as_celerys_does() -> None:
    celery = pytest.importorskip("celery.utils.graph")
    ours, theirs = DependencyGraph(), celery.DependencyGraph()
    for graph in (ours, theirs):
        for node in "abcde":
            graph.add_arc(node)
        for node, children in EDGES:
            for child in children:
                graph.add_edge(node, child)
    assert list(ours) == list(theirs) and len(ours) == len(theirs) == 5
    assert dict(ours.items()) == dict(theirs.items())
    assert [ours.valency_of(node) for node in "abcdex"] == [theirs.valency_of(node) for node in "abcdex"]
    assert list(ours.edges()) == list(theirs.edges()) and ours["a"] == ["b", "c"] and "x" not in ours
    assert repr(ours) == repr(theirs)
    order = ours.topsort()
    assert sorted(order) == list("abcde")
    assert all(order.index(child) < order.index(node) for node, children in EDGES for child in children)


def test_a_long_line_is_sorted_too() -> None:
    graph = DependencyGraph((number, [number + 1]) for number in range(5000))
    assert graph.topsort() == list(range(5000, -1, -1))
    assert graph.valency_of(0) == 5000


@pytest.mark.parametrize("which", ["ours", "theirs"])
def test_it_is_written_for_graphviz(which: str) -> None:
    formatter: Any = GraphFormatter(shape="oval")
    if which == "theirs":
        formatter = pytest.importorskip("celery.utils.graph").GraphFormatter(shape="oval")
    file = io.StringIO()
    text = DependencyGraph(EDGES).to_dot(file, formatter)
    assert file.getvalue() == text + "\n"
    assert text.startswith("digraph") and text.rstrip().endswith("}")
    assert '"a" -> "c"' in text and 'shape="oval"' in text and '"e"' in text
