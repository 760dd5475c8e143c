"""Workflows that one side sends and the other runs."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def chords(pair: Any) -> Any:
    """The pair, where its results are kept so that all workers can look into them."""
    if pair.fleet.backend == "rpc://":
        pytest.skip("a chord needs a result backend that all workers can look into")
    return pair


def test_a_chain(pair: Any) -> None:
    add = pair.task("add")
    result = pair.canvas.chain(add.s(1, 2), add.s(10), add.s(100))()
    assert result.get(timeout=20) == 113
    assert result.parent.get(timeout=20) == 13
    assert result.parent.parent.get(timeout=20) == 3
    assert result.parent.parent.parent is None


def test_a_chain_whose_first_step_fails(pair: Any) -> None:
    result = pair.canvas.chain(pair.task("fail").s(), pair.task("add").s(1))()
    with pytest.raises(Exception, match="tea"):
        result.get(timeout=20)
    assert result.parent.state == "FAILURE"


def test_a_group(pair: Any) -> None:
    result = pair.canvas.group(pair.task("add").s(n, n) for n in range(10))()
    assert result.get(timeout=20) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert result.completed_count() == 10
    assert result.successful()


def test_immutable_steps(pair: Any) -> None:
    add = pair.task("add")
    assert (add.s(1, 2) | add.si(5, 5)).delay().get(timeout=20) == 10


def test_a_chord(chords: Any) -> None:
    add, total = chords.task("add"), chords.task("total")
    assert chords.canvas.chord((add.s(n, n) for n in range(8)), total.s())().get(timeout=5) == 56
    again = chords.canvas.chain(chords.canvas.group(add.s(1, 1), add.s(2, 2)), total.s(), add.s(100))()
    assert again.get(timeout=5) == 106


def test_a_chord_in_the_middle_of_a_chain(chords: Any) -> None:
    add, total = chords.task("add"), chords.task("total")
    result = chords.canvas.chain(add.s(1, 1), chords.canvas.group(add.s(10), add.s(20)), total.s(), add.s(100))()
    assert result.get(timeout=5) == 134


def test_a_chord_with_a_member_that_fails(chords: Any) -> None:
    header = [chords.task("add").s(1, 1), chords.task("fail").s("oolong")]
    result = chords.canvas.chord(header, chords.task("total").s())()
    with pytest.raises(chords.exceptions.ChordError, match="oolong"):
        # Without its parents: the failed member's own error would be raised when that is seen first.
        result.get(timeout=5, follow_parents=False)


def test_map_starmap_and_chunks(pair: Any) -> None:
    add = pair.task("add")
    assert add.starmap([(1, 2), (3, 4)]).delay().get(timeout=20) == [3, 7]
    assert add.map([1, 2]).delay().get(timeout=20) == [1, 2]
    assert add.chunks(zip(range(6), range(6), strict=True), 2).group()().get(timeout=20) == [[0, 2], [4, 6], [8, 10]]


def test_a_chord_whose_members_are_run_by_both(clients: Any, fleet: Any) -> None:
    if fleet.backend == "rpc://":
        pytest.skip("a chord needs a result backend that all workers can look into")
    for pair in clients.values():
        queues = [fleet.queue("ours"), fleet.queue("theirs")]
        header = [pair.task("add").s(n, n).set(queue=queues[n % 2]) for n in range(10)]
        for queue in queues:
            assert pair.canvas.chord(header, pair.task("total").s().set(queue=queue))().get(timeout=5) == 90
