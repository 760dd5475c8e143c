"""Who is told that a workflow has failed, and how often."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

from umbel.canvas import chain, chord, group
from umbel.model.exceptions import ChordError


def told(app: Any) -> Counter[str]:
    return Counter(call[0] for call in app.log_of_calls)


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("form", ["old_errback", "new_errback"])
def test_an_errback_of_a_chord_is_called_once_and_once_more_for_each_member_where_that_is_asked_for(
    app: Any, work: Any, everywhere: bool, form: str
) -> None:
    app.conf.task_allow_error_cb_on_chord_header = everywhere
    flow = chord([app.fail.s(), app.add.s(1, 1), app.fail.s()], app.total.s())
    flow.link_error(getattr(app, form).s())
    result = flow.apply_async()
    work()
    assert told(app) == {form[:3]: 3 if everywhere else 1}
    with pytest.raises(ChordError, match="no luck") as caught:
        result.get(timeout=0)
    assert "ValueError" in str(caught.value)


def test_an_errback_of_a_chord_of_chords_is_called_once(app: Any, work: Any) -> None:
    inner = chord([app.fail.s(), app.fail.s()], app.total.s())
    flow = chord([inner, app.add.s(1, 1)], app.total.s()).on_error(app.new_errback.s())
    result = flow.apply_async()
    work()
    ((_, task_id, error, _),) = app.log_of_calls
    assert (task_id, type(error)) == (result.id, ChordError)
    assert "no luck" in str(error)


def test_an_errback_of_a_chain_does_not_hear_of_the_members_of_a_group_that_something_follows(
    app: Any, work: Any
) -> None:
    flow = chain([group(app.fail.s(), app.fail.s()), app.total.s()], app=app, priority=0)
    flow.on_error(app.new_errback.s()).apply_async()
    work()
    assert told(app) == {"new": 1}


def test_an_errback_of_a_group_is_called_for_each_of_its_tasks(app: Any, work: Any) -> None:
    flow = group(app.fail.s(), group(app.fail.s(), app.add.s(1, 1)), app.fail.starmap([()])).on_error(
        app.new_errback.s()
    )
    flow.apply_async()
    work()
    assert told(app) == {"new": 3}


def test_the_errback_of_a_later_step_does_not_hear_of_a_header_that_failed(app: Any, work: Any) -> None:
    later = app.add.s(1).on_error(app.new_errback.s())
    chord([app.fail.s()], chain([app.total.s(), later], app=app, priority=0)).apply_async()
    work()
    assert told(app) == {}


def test_all_results_of_a_workflow_end_when_it_fails_early(app: Any, work: Any) -> None:
    flow = app.fail.s() | group(app.add.s(1), app.add.s(2)) | app.total.s() | group(app.add.s(1), app.add.s(2))
    result = flow.delay()
    work()
    while result is not None:
        assert result.ready()
        assert result.failed()
        result = result.parent


def test_an_eager_chord_calls_its_errback_once_and_fails_with_the_reason(app: Any) -> None:
    flow = chord([app.fail.s(), app.add.s(1, 1)], app.total.s()) | app.add.s(1)
    result = flow.on_error(app.new_errback.s()).apply()
    assert told(app) == {"new": 1}
    with pytest.raises(ChordError, match="no luck"):
        result.get()
