"""Chords where nobody counts: the task that looks at them ends with the body sent, or with the truth."""

from __future__ import annotations

from typing import Any

import pytest

from umbel.canvas import chord
from umbel.model.exceptions import ChordError
from umbel.results.group_result import GroupResult
from umbel_kernel.errors import OperationalError
from umbel_kernel.spi.backend import BackendCapability


@pytest.fixture
def polled(monkeypatch: pytest.MonkeyPatch, app: Any) -> None:
    """A backend that all can look into, but that does not count, and looks that follow each other at once."""
    monkeypatch.setattr(type(app.load_backend()), "capabilities", frozenset({BackendCapability.SHARED}))
    app.conf.result_chord_retry_interval = 0


def half(app: Any, **options: Any) -> Any:
    """A chord of which one member ends and the other is in a queue that nobody reads."""
    never = app.add.s(2, 2).set(queue="nobody")
    return chord([app.add.s(1, 1), never], app.same.s()).apply_async(**options)


def reason(result: Any) -> str:
    with pytest.raises(ChordError) as caught:
        result.get(timeout=0, follow_parents=False)
    return str(caught.value)


def test_results_that_are_gone_are_told(app: Any, work: Any, polled: None) -> None:
    @app.task(name="tasks.flush")
    def flush(value: Any) -> None:
        app.backend.forget(result.parent.results[0].id)

    header = [app.add.s(1, 1).set(link=flush.s()), app.add.s(2, 2).set(queue="nobody")]
    result = chord(header, app.same.s()).apply_async(link_error=app.new_errback.s())
    work()
    assert "1 of 2 members had ended, and the results of 1 of them are gone" in reason(result)
    assert [call[0] for call in app.log_of_calls] == ["new"]


def test_a_header_in_which_nothing_moves_for_longer_than_results_are_kept_fails(
    app: Any, work: Any, polled: None
) -> None:
    app.conf.result_chord_expires = 0.05
    result = half(app)
    names = work()
    assert "1 of 2 members have ended, and none of the others for 0.05 seconds" in reason(result)
    assert names.count("celery.chord_unlock") > 2


def test_looks_may_be_limited(app: Any, work: Any, polled: None) -> None:
    result = half(app, max_retries=3)
    names = work()
    assert names.count("celery.chord_unlock") == 4
    assert "1 of 2 members have ended after 4 looks" in reason(result)


def test_a_store_that_is_away_says_nothing_of_the_chord(
    app: Any, work: Any, polled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, looks = app.backend.get_documents, []

    def away(*args: Any, **named: Any) -> Any:
        looks.append(args)
        if len(looks) < 3:
            raise OperationalError("the store is away")
        return real(*args, **named)

    monkeypatch.setattr(app.backend, "get_documents", away)
    result = chord([app.add.s(1, 1), app.add.s(2, 2)], app.same.s()).apply_async()
    assert work().count("celery.chord_unlock") == 3
    assert result.get(timeout=0) == [2, 4]


def test_a_broker_that_does_not_take_the_body_is_tried_again(
    app: Any, work: Any, polled: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, tries = app.same.apply_async, []

    def away(*args: Any, **named: Any) -> Any:
        tries.append(args)
        if len(tries) == 1:
            raise OperationalError("the broker is away")
        return real(*args, **named)

    monkeypatch.setattr(app.same, "apply_async", away)
    result = chord([app.add.s(1, 1)], app.same.s()).apply_async()
    work()
    assert result.get(timeout=0) == [2]


def test_the_join_has_its_timeout(app: Any, work: Any, polled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    app.conf.result_chord_join_timeout = 1.25
    real, seen = GroupResult.join, []

    def join(self: Any, timeout: Any = None, **named: Any) -> Any:
        seen.append(timeout)
        return real(self, timeout=timeout, **named)

    monkeypatch.setattr(GroupResult, "join", join)
    result = chord([app.add.s(1, 1)], app.same.s()).apply_async()
    work()
    assert result.get(timeout=0) == [2]
    assert seen == [1.25]


def test_whoever_looks_is_not_lost_with_its_worker(app: Any) -> None:
    unlock = app.tasks["celery.chord_unlock"]
    assert (unlock.acks_late, unlock.ignore_result) == (True, True)
