"""A part of a workflow that cannot be sent fails for itself: what was before it has succeeded, and all are told."""

from __future__ import annotations

import re
from typing import Any

import pytest

from umbel.canvas import chain, chord, group
from umbel.model.exceptions import ChordError

pytestmark = pytest.mark.sent
ARGUMENTS = r"add\(\) takes from 1 to 2 positional arguments but 3 were given"


def test_a_step_that_does_not_take_the_result_fails_and_not_the_one_before(app: Any, work: Any) -> None:
    bad = app.add.s(1, 2).on_error(app.new_errback.s())
    result = chain(app.add.s(1, 1), bad, app.add.s(1)).apply_async()
    assert work() == ["tasks.add"]
    assert result.parent.parent.get(timeout=0) == 2
    for step in (result.parent, result):
        with pytest.raises(TypeError, match=ARGUMENTS):
            step.get(timeout=0)
    assert [(kind, task_id) for kind, task_id, *_ in app.log_of_calls] == [("new", result.parent.id)]


def test_of_a_group_that_cannot_be_sent_whole_nothing_is(app: Any, work: Any) -> None:
    inside = app.same.s(1) | app.same.s()
    result = chain(app.add.s(1, 1), group(inside, app.add.s(5), app.add.s(1, 2)), app.total.s()).apply_async()
    assert work() == ["tasks.add"]
    with pytest.raises(TypeError, match=ARGUMENTS):
        result.get(timeout=0)
    assert result.parent.parent.get(timeout=0) == 2


def test_a_callback_that_does_not_take_the_result_leaves_the_task_and_the_others_alone(app: Any, work: Any) -> None:
    bad = app.add.s(1, 2).set(task_id="a-callback").on_error(app.new_errback.s())
    result = app.add.signature((1, 1), link=[bad, app.note.s()]).apply_async()
    work()
    assert result.get(timeout=0) == 2
    (kind, task_id, error, _), noted = app.log_of_calls
    assert (kind, task_id, noted) == ("new", "a-callback", ("note", 2))
    assert re.match(ARGUMENTS, str(error))


@pytest.mark.parametrize("body", ["task", "group", "chord", "chain"])
def test_a_body_that_cannot_be_sent_fails_with_the_reason(app: Any, work: Any, body: str) -> None:
    bad = app.add.s(1, 2)
    bodies = {
        "task": bad,
        "group": group(app.same.s(), bad),
        "chord": chord([app.same.s(), bad], app.total.s()),
        "chain": chain(bad, app.same.s()),
    }
    flow = chord([app.add.s(1, 1), app.add.s(2, 2)], bodies[body])
    result = flow.apply_async(link_error=app.new_errback.s())
    outer = chord([flow, app.add.s(3, 3)], app.total.s()).apply_async()
    assert work() == ["tasks.add"] * 5
    with pytest.raises(ChordError, match=f"the body could not be sent: TypeError: {ARGUMENTS}"):
        result.get(timeout=0)
    with pytest.raises(ChordError, match="the body could not be sent"):
        outer.get(timeout=0)
    header = result
    while header.parent is not None:
        header = header.parent
    assert header.get(timeout=0) == [2, 4]
    assert {call[0] for call in app.log_of_calls} == {"new"}


def test_an_errback_that_cannot_be_sent_keeps_no_other_from_it(app: Any, work: Any, caplog: Any) -> None:
    @app.task(name="tasks.picky", bind=True)
    def picky(self: Any, task_id: str, more: str) -> None:
        raise AssertionError("never called with one argument")

    for flow in (app.fail.s(), chord([app.fail.s()], app.total.s())):
        app.log_of_calls.clear()
        flow.on_error(picky.s()).on_error(app.old_errback.s())
        result = flow.apply_async()
        work()
        assert [call[0] for call in app.log_of_calls] == ["old"]
        assert result.failed()
    assert "the errback tasks.picky() of task" in caplog.text


def test_a_queue_that_is_not_known_fails_the_step_that_was_to_go_there(app: Any, work: Any) -> None:
    app.conf.task_create_missing_queues = False
    for last in (app.add.s(1).set(queue="nowhere"), group(app.add.s(1).set(queue="nowhere"), app.add.s(1))):
        result = (app.add.s(1, 1) | last).apply_async()
        work()
        with pytest.raises(Exception, match="nowhere"):
            result.get(timeout=0)
        assert result.parent.get(timeout=0) == 2
