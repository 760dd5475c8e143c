"""Many calls at once, and groups: few round trips, and otherwise as if each were sent alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from umbel import Task, Umbel, chain, chord, group
from umbel.app.publisher import BATCH
from umbel.model import signals
from umbel_broker_memory import MemoryBroker
from umbel_kernel.errors import EncodeError
from umbel_kernel.spi.message import Message


class Counting(MemoryBroker):
    """Keeps what it is handed, trip by trip."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.trips: list[Sequence[Message]] = []

    def post(self, messages: Sequence[Message], *, timeout: float = 5.0) -> None:
        self.trips.append(messages)

    def publish(self, messages: Sequence[Message], *, timeout: float = 5.0) -> None:
        self.trips.append(messages)


@pytest.fixture
def trips(app: Umbel) -> list[Sequence[Message]]:
    """What the app's broker is handed."""
    broker = Counting(app.connections.broker_urls()[0])
    broker.connect(timeout=1)
    app.connections._broker = broker
    return broker.trips


@pytest.fixture
def add(app: Umbel) -> Any:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    return add


def _called(app: Umbel, trip: Sequence[Message]) -> list[Any]:
    """The positional arguments of each message."""
    return [app.content.loads(each.body, each.content_type, each.content_encoding)[0] for each in trip]


def test_calls_go_in_batches_and_in_order(app: Umbel, add: Any, trips: list[Sequence[Message]]) -> None:
    sent = app.send_many(add.s(number, 1) for number in range(2 * BATCH + 1))
    assert [len(trip) for trip in trips] == [BATCH, BATCH, 1]
    messages = [message for trip in trips for message in trip]
    assert [message.headers["id"] for message in messages] == [result.id for result in sent]
    assert _called(app, messages) == [[number, 1] for number in range(2 * BATCH + 1)]


def test_calls_may_be_given_in_every_form(app: Umbel, add: Any, trips: list[Sequence[Message]]) -> None:
    first = add.s(1, 1).set(task_id="first", priority=3)
    sent = app.send_many([first, dict(add.s(2, 2)), (add.name, (3,), {"y": 3}, {}), ("not.registered", None, None, {})])
    (trip,) = trips
    assert sent[0].id == "first" and [result.id for result in sent] == [message.headers["id"] for message in trip]
    assert _called(app, trip) == [[1, 1], [2, 2], [3], []]
    assert trip[0].priority == 3 and trip[3].headers["task"] == "not.registered"


def test_whole_workflows_are_calls_too(app: Umbel, add: Any, trips: list[Sequence[Message]]) -> None:
    pair, steps = group(add.s(1, 1), add.s(2, 2)), chain(add.s(3, 3), add.s(4))
    sent = app.send_many([add.s(0, 0), pair, dict(steps), chord([add.s(5, 5)], add.si(6, 6))])
    (trip,) = trips
    assert _called(app, trip) == [[0, 0], [1, 1], [2, 2], [3, 3], [5, 5]]
    assert [result.id for result in sent[1].results] == [message.headers["id"] for message in trip[1:3]]
    assert sent[2].parent.id == trip[3].headers["id"] and sent[3].parent.results[0].id == trip[4].headers["id"]


def test_a_group_goes_in_one_trip_whatever_its_members_are(
    app: Umbel, add: Any, trips: list[Sequence[Message]]
) -> None:
    @app.task
    def other(x: int, y: int) -> None: ...

    members = [
        add.s(1, 1),
        chain(add.s(2, 2), add.s(1)),
        other.s(3, 3),
        chord([add.s(4, 4), add.s(5, 5)], add.si(1, 1)),
    ]
    result = group(members).apply_async()
    (trip,) = trips
    assert sorted(_called(app, trip)) == [[number, number] for number in (1, 2, 3, 4, 5)]
    assert len(result.results) == 4


def test_of_a_group_that_cannot_be_written_nothing_is_sent(
    app: Umbel, add: Any, trips: list[Sequence[Message]]
) -> None:
    with pytest.raises(EncodeError):
        group(chain(add.s(1, 1), add.s(1)), add.s(object(), 1)).apply_async()
    with pytest.raises(TypeError, match="missing"):
        group(add.s(1, 1), add.s(1)).apply_async()
    assert trips == []


@pytest.mark.parametrize("call", [5, "a.task", None])
def test_what_is_no_call_is_refused(app: Umbel, trips: list[Sequence[Message]], call: Any) -> None:
    with pytest.raises(TypeError, match="what is sent is a signature"):
        app.send_many([call])
    assert trips == []


def test_a_task_with_a_way_of_its_own_is_asked(app: Umbel, trips: list[Sequence[Message]]) -> None:
    class Marked(Task):
        def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
            return super().apply_async(args, kwargs, **{**options, "headers": {"mark": "own"}})

        def shadow_name(self, args: Any, kwargs: Any, options: Any) -> str:
            return f"marked {args[0]}"

    @app.task(base=Marked)
    def marked(x: int) -> None: ...

    app.send_many([marked.s(1), (marked.name, (2,), {}, {})])
    (trip,) = trips
    assert [(message.headers["mark"], message.headers["shadow"]) for message in trip] == [
        ("own", "marked 1"),
        ("own", "marked 2"),
    ]


def test_signals_tell_of_each(app: Umbel, add: Any, trips: list[Sequence[Message]]) -> None:
    heard: list[Any] = []

    def before(headers: Any, **_: Any) -> None:
        headers["mark"] = len(heard)
        heard.append(("before", headers["id"], len(trips)))

    def after(headers: Any, **_: Any) -> None:
        heard.append(("after", headers["id"], len(trips)))

    signals.before_task_publish.connect(before)
    signals.after_task_publish.connect(after)
    try:
        sent = app.send_many([add.s(1, 1), add.s(2, 2)])
    finally:
        signals.before_task_publish.disconnect(before)
        signals.after_task_publish.disconnect(after)
    assert heard == [(when, result.id, trip) for trip, when in enumerate(("before", "after")) for result in sent]
    assert [message.headers["mark"] for message in trips[0]] == [0, 1]


def test_eagerly_they_run_here(app: Umbel, add: Any, trips: list[Sequence[Message]]) -> None:
    app.conf.task_always_eager = True
    sent = app.send_many([add.s(1, 1), (add.name, (2, 2), {}, {}), chain(add.s(3, 3), add.s(1))])
    assert [result.get() for result in sent] == [2, 4, 7]
    assert trips == []
