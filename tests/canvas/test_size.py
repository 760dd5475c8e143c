"""What a call of a workflow sends, and what it takes to send it, stays in proportion to its tasks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from umbel.canvas import Signature, chain, chord, group


def nested(app: Any, levels: int) -> Any:
    if not levels:
        return chord([app.same.si(1)] * 9, app.total.si([]))
    return chord([nested(app, levels - 1) for _ in range(10)], app.total.si([]))


@pytest.fixture
def sent(app: Any) -> Callable[[Any], list[int]]:
    """Sends a workflow; returns the sizes of its messages, bodies and headers, and takes them back."""

    def send(flow: Any) -> list[int]:
        flow.apply_async()
        broker, queue = app.connections.broker(), app.queues["celery"]
        consumer = broker.consumer([queue])
        sizes = []
        try:
            while deliveries := consumer.receive(100, 0):
                sizes += [len(each.body) + len(json.dumps(each.headers)) for each in deliveries]
                consumer.ack(deliveries)
        finally:
            consumer.close()
        return sizes

    return send


def test_a_step_of_a_chain_takes_the_same_however_long_it_is(app: Any, sent: Any) -> None:
    short, long = (sum(sent(chain([app.same.si(1)] * count))) for count in (100, 400))
    each = (long - short) / 300
    assert 100 < each < 200
    assert short < 100 * each + 1_000


def test_a_task_of_a_group_takes_the_same_however_large_it_is(app: Any, sent: Any) -> None:
    short, long = (sum(sent(group([app.same.si(1)] * count))) / count for count in (10, 400))
    assert abs(long - short) < 10 and long < 700


def test_each_level_of_chords_adds_one_body_to_a_message(app: Any, sent: Any) -> None:
    flat, one, two = (sent(nested(app, levels)) for levels in range(3))
    assert [len(sizes) for sizes in (flat, one, two)] == [9, 90, 900]
    first, second = max(one) - max(flat), max(two) - max(one)
    assert abs(first - second) < 30
    assert second < 300


def test_a_body_carries_nothing_that_says_nothing(app: Any, work: Any) -> None:
    result = nested(app, 1).apply_async()
    work()
    assert result.get(timeout=0) == 0
    carried = [body[2]["chord"] for body in work.bodies if body[2]["chord"]]
    while carried:
        inner = carried.pop()
        assert all(value is not None and value is not False for value in inner.values())
        assert all(value is not None and value is not False for value in inner["options"].values())
        carried += [inner["options"]["chord"]] if "chord" in inner["options"] else []


def headers_in_headers(app: Any, depth: int) -> Any:
    flow = app.same.si(1)
    for _ in range(depth):
        flow = chord([flow, app.same.si(2)], app.same.s())
    return flow


def groups_in_headers(app: Any, depth: int) -> Any:
    flow = app.same.si(1)
    for _ in range(depth):
        header = [group(flow, app.same.si(2)) | app.total.s(), app.same.si(3)]
        flow = chord(header, group(app.total.s(), app.total.s()))
    return flow


def chains_in_groups(app: Any, depth: int) -> Any:
    flow = app.same.si(1)
    for _ in range(depth):
        flow = group(chain([flow, app.same.si(2)], app=app, priority=0), app.same.si(3))
    return flow


def chords_in_bodies(app: Any, depth: int) -> Any:
    flow = app.same.s()
    for _ in range(depth):
        flow = chord([app.same.si(1), app.same.si(2)], flow)
    return flow


def groups_in_groups(app: Any, depth: int) -> Any:
    flow = app.same.si(1)
    for _ in range(depth):
        flow = group(flow, group(app.same.si(2), link_error=app.note.s()))
    return flow


def chains_in_chains(app: Any, depth: int) -> Any:
    flow = app.same.si(1)
    for _ in range(depth):
        flow = chain([flow, group(app.same.s(), app.same.s()), app.total.s()], app=app, priority=0)
    return flow


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], int]:
    """Does something; returns how often a signature was copied or given its id, merged or had its members listed."""
    done = 0

    def count(kind: Any, name: str) -> None:
        real = vars(kind)[name]

        def call(self: Any, *args: Any, **kwargs: Any) -> Any:
            nonlocal done
            done += 1
            return real(self, *args, **kwargs)

        monkeypatch.setattr(kind, name, call)

    for kind in (Signature, *Signature.TYPES.values()):
        for name in {"clone", "_settle", "_merge", "_members", "_header", "_unbroken"} & vars(kind).keys():
            count(kind, name)

    def of(what: Callable[[], Any]) -> int:
        nonlocal done
        done = 0
        what()
        return done

    return of


NESTINGS = [
    headers_in_headers, groups_in_headers, chains_in_groups, chords_in_bodies, groups_in_groups, chains_in_chains
]  # fmt: skip


@pytest.mark.parametrize("way", ["apply_async", "freeze", "apply"])
@pytest.mark.parametrize("nesting", NESTINGS)
def test_what_it_takes_grows_with_the_number_of_tasks_however_they_are_nested(
    app: Any, counted: Any, nesting: Callable[[Any, int], Any], way: str
) -> None:
    short, long = (counted(getattr(nesting(app, depth), way)) for depth in (6, 18))
    assert short > 12
    assert long <= 3.2 * short, "three times as deep takes three times as much, not the square or the cube of it"


@pytest.mark.parametrize("nesting", NESTINGS)
def test_sending_changes_nothing_of_what_was_sent(app: Any, work: Any, nesting: Callable[[Any, int], Any]) -> None:
    flow, same = nesting(app, 4), nesting(app, 4)
    results = [flow.apply_async(), flow.apply(), flow.apply_async()]
    work()
    assert flow == same
    values = [result.get(timeout=0) for result in results]
    assert values[0] == values[1] == values[2]
