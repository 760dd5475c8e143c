"""The shape of what a workflow returns, and what becomes of arguments and options given to the whole of it."""

from __future__ import annotations

import functools
import json
import operator
from typing import Any

import pytest

from umbel.canvas import Signature, chain, chord, group
from umbel.model.exceptions import ImproperlyConfigured


def test_what_is_given_to_a_chain_goes_to_all_of_the_group_that_it_begins_with(app: Any, work: Any) -> None:
    flow = chain([group(app.add.s(1), app.add.s(2))], app=app, priority=0)
    result = flow.delay(10)
    work()
    assert result.get(timeout=0) == [11, 12]


def test_named_arguments_go_to_the_first_step_only(app: Any, work: Any) -> None:
    flow = chain([group(app.add.s(), app.add.s()), app.total.s()], app=app, priority=0)
    result = flow.apply_async((1,), {"y": 10})
    alone = (app.add.s() | app.add.s(100)).apply_async((), {"x": 1, "y": 2})
    work()
    assert result.get(timeout=0) == 22
    assert alone.get(timeout=0) == 103


@pytest.mark.parametrize("depth", [1, 3])
def test_arguments_bound_to_a_whole_reach_its_first_tasks_once(app: Any, work: Any, depth: int) -> None:
    for whole, expected in (
        (group(app.add.s(1), app.add.s(2)), [11, 12]),
        (app.add.s(1) | app.add.s(5), 16),
        (chord([app.add.s(1), app.add.s(2)], app.total.s()), 23),
        (group(group(app.add.s(1)), app.add.s(2) | app.add.s(1)), [11, 13]),
    ):
        bound = whole.clone((10,))
        for _ in range(depth):
            bound = bound.clone()
        frozen = bound.clone()
        known = frozen.freeze()
        results = [bound.delay(), app.signature(json.loads(json.dumps(bound))).delay(), frozen.delay()]
        work()
        assert [result.get(timeout=0) for result in (*results, known)] == [expected] * 4


def test_an_immutable_chain_takes_nothing_from_the_step_before(app: Any, work: Any) -> None:
    inner = chain([app.add.s(1, 1), app.add.s(1)], app=app, priority=0).set(immutable=True)
    result = (app.add.s(5, 5) | inner).delay()
    work()
    assert result.get(timeout=0) == 3


def test_chunks_give_values_wherever_they_stand(app: Any, work: Any) -> None:
    def parcels() -> Any:
        return app.add.chunks([(1, 1), (2, 2), (3, 3)], 2)

    flows: list[tuple[Any, Any]] = [
        (parcels() | app.same.s(), [[2, 4], [6]]),
        (app.add.s(1, 1) | parcels(), [[2, 4], [6]]),
        (app.add.s(1, 1) | parcels() | app.same.s(), [[2, 4], [6]]),
        (group(parcels(), app.add.s(5, 5)), [[2, 4], [6], 10]),
        (chord([app.add.s(1, 1)], parcels()), [[2, 4], [6]]),
        (chord([parcels(), app.add.s(5, 5)], app.same.s()), [[2, 4], [6], 10]),
        (app.add.chunks([(1, 1)], 10) | app.same.s(), [[2]]),
        (app.add.chunks([], 10) | app.same.s(), []),
    ]
    as_groups = [
        (app.add.s(1, 1) | app.add.chunks([(1, 1)], 10).group() | app.same.s(), [[2]]),
        (app.add.s(1, 1) | app.add.chunks([], 10).group() | app.same.s(), []),
    ]
    results = [flow.delay() for flow, _ in flows]
    grouped = [flow.delay() for flow, _ in as_groups]
    again = [app.signature(json.loads(json.dumps(flow))).delay() for flow, _ in flows]
    work()
    assert [result.get(timeout=0) for result in results] == [expected for _, expected in flows]
    assert [result.get(timeout=0) for result in grouped] == [expected for _, expected in as_groups]
    assert [result.get(timeout=0) for result in again] == [expected for _, expected in flows]


@pytest.mark.sent
def test_the_task_that_celery_sends_for_chunks_returns_values(app: Any, work: Any) -> None:
    result = app.send_task("celery.chunks", (), {"task": app.add.s(), "it": [[1, 1], [2, 2], [3, 3]], "n": 2})
    work()
    assert result.get(timeout=0) == [[2, 4], [6]]


def test_groups_of_nothing_are_passed_over_however_deep(app: Any, work: Any) -> None:
    nothing = group(group([], app=app), chain([], app=app), group(group([], app=app)), app=app)
    flow = app.add.s(1, 1) | nothing | app.add.s(1) | group(nothing, app.add.s(1)) | nothing
    result = (nothing | flow).delay()
    work()
    assert result.get(timeout=0) == 4


def test_a_group_of_nothing_has_nothing_to_link_to(app: Any, work: Any) -> None:
    result = group([], app=app, link=app.note.s()).apply_async()
    work()
    assert (result.get(timeout=0), app.log_of_calls) == ([], [])


@pytest.mark.sent
def test_a_group_that_becomes_a_header_keeps_its_options(app: Any, work: Any) -> None:
    result = (group(app.add.s(1, 1), app.add.s(2, 2)).set(headers={"mine": 1}) | app.total.s()).delay()
    work()
    assert result.get(timeout=0) == 6
    assert [headers.get("mine") for headers in work.headers] == [1, 1, None]


def test_skew_lets_tasks_start_one_after_another(app: Any) -> None:
    countdowns = [task.options["countdown"] for task in group(app.add.si(n, n) for n in range(4)).skew(1, 3).tasks]
    assert countdowns == [1, 2, 3, 3]


@pytest.mark.sent
def test_a_task_replaced_within_a_chain_has_a_result_of_its_own(app: Any, work: Any) -> None:
    @app.task(bind=True, name="tasks.become")
    def become(self: Any, value: int) -> Any:
        return self.replace(group(app.add.s(value, 1), app.add.s(value, 2)))

    result = (app.add.s(1, 1) | become.s() | app.total.s() | app.add.s(100)).delay()
    work()
    assert result.get(timeout=0) == 107
    assert result.parent.parent.get(timeout=0) == [3, 4]
    assert [headers["replaced_task_nesting"] for headers in work.headers if headers["task"] == "celery.accumulate"] == [
        1
    ]


def test_a_signature_that_takes_over_can_do_so_many_times(app: Any, work: Any) -> None:
    shared = app.add.s(1, 1) | app.add.s(5)

    @app.task(bind=True, name="tasks.become")
    def become(self: Any) -> Any:
        return self.replace(shared)

    results = [become.delay(), become.delay(), (become.s() | app.add.s(1)).delay()]
    work()
    assert [result.get(timeout=0) for result in results] == [7, 7, 8]


def test_a_task_cannot_be_replaced_with_nothing(app: Any, work: Any) -> None:
    @app.task(bind=True, name="tasks.become")
    def become(self: Any, sig: Any) -> Any:
        return self.replace(None if sig is None else app.signature(sig))

    for sig in (None, chain([], app=app)):
        result = become.delay(sig)
        work()
        with pytest.raises(ImproperlyConfigured, match="become"):
            result.get(timeout=0)


@pytest.mark.sent
def test_the_options_of_groups_in_one_another_go_to_the_tasks_and_those_outside_count(app: Any, work: Any) -> None:
    inner = group(app.add.s(2, 2)).set(headers={"mine": "inner"}, shadow="inner")
    outer = group(app.add.s(1, 1), inner).set(headers={"mine": "outer"})
    (outer | app.total.s()).delay()
    outer.delay()
    work()
    said = [(headers.get("mine"), headers["shadow"]) for headers in work.headers]
    assert said == [("outer", None), ("outer", "inner")] * 2 + [(None, None)]


def test_a_long_row_of_groups_and_tasks_is_built_in_one_pass(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def row(stages: int) -> list[Any]:
        spread = group(app.add.si(1, 1), app.add.si(2, 2))
        return [app.add.si(0, 0), *[part for _ in range(stages) for part in (spread, app.total.s())]]

    copies = 0

    def counted(sig: Any, *args: Any, _clone: Any = Signature.clone, **kwargs: Any) -> Any:
        nonlocal copies
        copies += 1
        return _clone(sig, *args, **kwargs)

    monkeypatch.setattr(Signature, "clone", counted)
    took = []
    for stages in (20, 60):
        copies = 0
        chain(row(stages))
        took.append(copies)
    assert took[0] >= 20 and took[1] <= 3.5 * took[0], took


def test_building_a_row_changes_none_of_its_parts(app: Any) -> None:
    def parts() -> list[Any]:
        spread = group(app.add.si(1, 1), app.add.si(2, 2))
        steps = app.total.s() | app.add.s(1)
        inner = chord([app.add.si(1, 1), app.add.si(2, 2)], app.total.s())
        return [spread, steps, app.add.s(2), inner, app.add.s(3), steps]

    for first in range(3):
        for composed in (chain, lambda row: functools.reduce(operator.or_, row)):
            mine, row = parts()[first:], parts()[first:]
            composed(row)
            assert row == mine


@pytest.mark.sent
def test_the_options_of_a_chain_stay_with_its_first_step_whatever_it_becomes_a_part_of(app: Any, work: Any) -> None:
    def begun(last: Any) -> Any:
        return chain([app.add.s(1, 1), last], app=app, headers={"mine": 1})

    spread = group(app.add.s(1), app.add.s(2))
    for whole, expected in (
        (begun(app.add.s(1)) | app.add.s(10), 13),
        (chain([begun(app.add.s(1)), app.add.s(10)], app=app, priority=0), 13),
        (chord([begun(app.add.s(1))], app.same.s()), [3]),
        (chord([begun(spread)], app.same.s()), [[3, 4]]),
        (begun(spread) | app.same.s(), [3, 4]),
    ):
        work.headers.clear()
        result = whole.delay()
        work()
        assert result.get(timeout=0) == expected
        assert [headers.get("mine") for headers in work.headers] == [1] + [None] * (len(work.headers) - 1), whole


def test_a_group_of_one_group_keeps_what_both_have_for_its_task(app: Any, work: Any) -> None:
    inner = group([app.add.s(1)], app=app).clone((10,))
    outer = group([inner], app=app).clone((100,))
    assert outer.alone().args == (100, 10, 1)
    linked = group([group([app.fail.s()], app=app)], app=app, link_error=[app.old_errback.s()])
    (linked | app.same.s()).delay()
    work()
    assert [call[0] for call in app.log_of_calls] == ["old"]
