"""The order is the same every time, a circle is printed, and drawings say what was resolved."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel_kernel.errors import CircularDependency
from umbel_kernel.graph import Graph

NAMES = st.sampled_from("abcdefgh")


def test_among_equals_the_order_is_by_name() -> None:
    assert Graph({"timer": [], "loop": ["timer"], "beat": [], "pool": ["loop", "beat"]}).order() == [
        "beat",
        "timer",
        "loop",
        "pool",
    ]


def test_a_need_that_is_no_key_takes_part() -> None:
    assert Graph({"b": ["a"]}).order() == ["a", "b"]


@given(st.lists(st.tuples(NAMES, NAMES)), st.randoms(use_true_random=False))
def test_the_order_keeps_every_need_and_does_not_hang_on_the_input(
    pairs: list[tuple[str, str]], chance: object
) -> None:
    needs: dict[str, list[str]] = {}
    for first, second in pairs:
        if first != second:
            needs.setdefault(max(first, second), []).append(min(first, second))
    order = Graph(needs).order()
    assert all(order.index(need) < order.index(name) for name, of in needs.items() for need in of)
    mixed = list(needs.items())
    chance.shuffle(mixed)  # type: ignore[attr-defined]
    assert Graph({name: of[::-1] for name, of in mixed}).order() == order


@pytest.mark.parametrize(
    ("needs", "circle"),
    [
        ({"a": ["a"]}, ("a", "a")),
        ({"a": ["b"], "b": ["a"]}, ("a", "b", "a")),
        (
            {"pool": ["loop"], "loop": ["timer"], "timer": ["pool"], "beat": ["timer"]},
            ("loop", "timer", "pool", "loop"),
        ),
        ({"z": ["a"], "a": ["b"], "b": ["c"], "c": ["b"]}, ("b", "c", "b")),
    ],
)
def test_a_circle_is_printed(needs: dict[str, list[str]], circle: tuple[str, ...]) -> None:
    with pytest.raises(CircularDependency) as caught:
        Graph(needs).order()
    assert caught.value.circle == circle
    assert " -> ".join(circle) in str(caught.value)


@given(st.dictionaries(NAMES, st.lists(NAMES, max_size=3)))
def test_an_order_or_a_true_circle(needs: dict[str, list[str]]) -> None:
    try:
        order = Graph(needs).order()
    except CircularDependency as error:
        circle = error.circle
        assert circle[0] == circle[-1]
        assert all(need in needs[name] for name, need in itertools.pairwise(circle))
    else:
        assert sorted(order) == sorted({*needs, *(need for of in needs.values() for need in of)})


def test_drawings() -> None:
    graph = Graph({"loop": ["timer"], "timer": []})
    assert graph.to_dot("worker").splitlines() == [
        'digraph "worker" {',
        "  rankdir=LR;",
        "  node [shape=box, style=rounded];",
        '  "timer";',
        '  "loop";',
        '  "loop" -> "timer";',
        "}",
    ]
    assert graph.to_mermaid().splitlines() == ["flowchart LR", '  n0["timer"]', '  n1["loop"]', "  n1 --> n0"]
    assert json.loads(graph.to_json()) == {"order": ["timer", "loop"], "needs": {"loop": ["timer"], "timer": []}}
