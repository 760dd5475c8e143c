"""What a call of a workflow sends stays in proportion to its tasks."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from umbel.canvas import chain, chord, group


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
