"""Workflows as they run: what is sent, in what order, and with what results."""

from __future__ import annotations

from typing import Any

import pytest

from umbel.canvas import chain, chord, chunks, group, signature, xmap
from umbel.model.exceptions import ChordError
from umbel_kernel.spi.backend import BackendCapability


def test_a_chain_hands_each_result_on(app: Any, work: Any) -> None:
    result = (app.add.s(1, 2) | app.add.s(10) | app.add.s(100)).delay()
    assert work() == ["tasks.add"] * 3
    assert result.get(timeout=0) == 113
    assert result.parent.get(timeout=0) == 13
    assert result.parent.parent.get(timeout=0) == 3
    assert result.parent.parent.parent is None


def test_the_tasks_of_a_chain_know_their_root_and_their_parent(app: Any, work: Any) -> None:
    result = (app.add.s(1, 2) | app.add.s(10) | app.add.s(100)).delay()
    work()
    first, second, third = work.headers
    assert [first["root_id"], second["root_id"], third["root_id"]] == [first["id"]] * 3
    assert [first["parent_id"], second["parent_id"], third["parent_id"]] == [None, first["id"], second["id"]]
    assert [third["id"], second["id"], first["id"]] == result.as_list()


def test_partial_arguments_go_to_the_first_task_only(app: Any, work: Any) -> None:
    result = (app.add.s() | app.add.s(10)).delay(1, 2)
    work()
    assert result.get(timeout=0) == 13


def test_an_immutable_step_takes_no_result(app: Any, work: Any) -> None:
    result = (app.add.s(1, 2) | app.add.si(5, 5)).delay()
    work()
    assert result.get(timeout=0) == 10


def test_a_chain_ends_under_the_id_that_was_asked_for(app: Any, work: Any) -> None:
    result = (app.add.s(1, 2) | app.add.s(10)).apply_async(task_id="the-last")
    work()
    assert result.id == "the-last"
    assert app.AsyncResult("the-last").get(timeout=0) == 13


@pytest.mark.sent
def test_a_group_runs_all_and_keeps_their_order(app: Any, work: Any) -> None:
    result = group(app.add.s(n, n) for n in range(10))()
    assert not result.ready()
    assert work() == ["tasks.add"] * 10
    assert result.ready() and result.successful()
    assert result.get(timeout=0) == [n + n for n in range(10)]
    assert result.completed_count() == 10
    assert {headers["group"] for headers in work.headers} == {result.id}
    assert [headers["group_index"] for headers in work.headers] == list(range(10))


def test_a_group_gives_partial_arguments_to_every_task(app: Any, work: Any) -> None:
    result = group(app.add.s(1), app.add.s(2), app.add.si(7, 7))(10)
    work()
    assert result.get(timeout=0) == [11, 12, 14]


def test_a_group_in_a_group_is_one_group(app: Any, work: Any) -> None:
    result = group(app.add.s(1, 1), group(app.add.s(2, 2), group(app.add.s(3, 3))), app.add.s(4, 4))()
    work()
    assert result.get(timeout=0) == [2, 4, 6, 8]
    assert [headers["group_index"] for headers in work.headers] == [0, 1, 2, 3]


def test_a_group_of_chains(app: Any, work: Any) -> None:
    result = group(app.add.s(1, 1) | app.add.s(10), app.add.s(2, 2) | group(app.add.s(20), app.add.s(30)))()
    work()
    assert result.get(timeout=0) == [12, [24, 34]]


def test_an_empty_group_is_ready_and_sends_nothing(app: Any, work: Any) -> None:
    result = group([], app=app)()
    assert work() == []
    assert result.ready()
    assert result.get(timeout=0) == []


def test_a_chain_that_ends_in_a_group(app: Any, work: Any) -> None:
    result = (app.add.s(1, 1) | group(app.add.s(10), app.add.s(20))).delay()
    work()
    assert result.get(timeout=0) == [12, 22]
    assert result.parent.get(timeout=0) == 2


def test_empty_groups_in_a_chain_are_passed_over(app: Any, work: Any) -> None:
    steps = chain([group([], app=app), app.add.s(1, 1), group([], app=app), app.add.s(5), group([], app=app)], app=app)
    result = steps.apply_async()
    work()
    assert result.get(timeout=0) == 7


def test_a_chord_gives_its_body_the_results_in_order(app: Any, work: Any) -> None:
    result = chord([app.add.s(n, n) for n in range(5)])(app.same.s())
    names = work()
    assert names == ["tasks.add"] * 5 + ["tasks.same"]
    assert result.get(timeout=0) == [0, 2, 4, 6, 8]
    assert result.parent.get(timeout=0) == [0, 2, 4, 6, 8]


def test_a_chord_without_members_runs_its_body(app: Any, work: Any) -> None:
    result = chord([], app.same.s(), app=app).apply_async()
    assert work() == ["tasks.same"]
    assert result.get(timeout=0) == []


def test_a_group_with_a_task_after_it_is_a_chord(app: Any, work: Any) -> None:
    result = (app.add.s(1, 1) | group(app.add.s(1), app.add.s(2)) | app.total.s() | app.add.s(100)).delay()
    work()
    assert result.get(timeout=0) == (3 + 4) + 100


def test_chord_after_chord(app: Any, work: Any) -> None:
    flow = group(app.add.s(1, 1), app.add.s(2, 2)) | group(app.total.s(), app.total.s()) | app.total.s() | app.add.s(1)
    result = flow.delay()
    work()
    assert result.get(timeout=0) == 13


def test_a_chord_whose_body_is_a_chain_or_a_group(app: Any, work: Any) -> None:
    header = [app.add.s(1, 1), app.add.s(2, 2)]
    in_turn = chord(header, app.total.s() | app.add.s(10) | app.add.s(100)).apply_async()
    at_once = chord(header, group(app.total.s(), app.same.s())).apply_async()
    work()
    assert in_turn.get(timeout=0) == 116
    assert at_once.get(timeout=0) == [6, [2, 4]]


def test_members_whose_results_nobody_keeps_hand_them_on_all_the_same(app: Any, work: Any) -> None:
    kept, not_kept = app.add.s(2, 2), app.add.s(1, 1).set(ignore_result=True)
    flows = [
        (chord([not_kept, kept], app.same.s()), [2, 4]),
        (chord([not_kept | app.add.s(1).set(ignore_result=True), kept], app.same.s()), [3, 4]),
        (not_kept | group(app.add.s(1).set(ignore_result=True), app.add.s(2)) | app.same.s(), [3, 4]),
    ]
    results = [flow.apply_async() for flow, _ in flows]
    work()
    assert [result.get(timeout=0) for result in results] == [expected for _, expected in flows]


def test_a_chord_in_the_header_of_a_chord(app: Any, work: Any) -> None:
    inner = chord([app.add.s(1, 1), app.add.s(2, 2)], app.total.s())
    result = chord([inner, app.add.s(5, 5), app.add.s(1, 1) | app.add.s(1)], app.same.s()).apply_async()
    work()
    assert result.get(timeout=0) == [6, 10, 3]


def test_a_chain_that_ends_in_a_group_counts_once_in_a_header(app: Any, work: Any) -> None:
    spread = app.add.s(1, 1) | group(app.add.s(10), app.add.s(20), app.add.s(30))
    result = chord([spread, app.add.s(5, 5)], app.same.s()).apply_async()
    work()
    assert result.get(timeout=0) == [[12, 22, 32], 10]


def test_callbacks_get_the_result(app: Any, work: Any) -> None:
    app.add.apply_async((1, 2), link=[app.note.s("a"), app.note.si("b")])
    work()
    assert app.log_of_calls == [("note", 3, "a"), ("note", "b")]


def test_a_chains_callback_comes_after_its_last_task(app: Any, work: Any) -> None:
    (app.add.s(1, 2) | app.add.s(3)).apply_async(link=app.note.s())
    work()
    assert app.log_of_calls == [("note", 6)]


def test_a_chords_callback_comes_after_its_body(app: Any, work: Any) -> None:
    chord([app.add.s(1, 2)], app.total.s()).apply_async(link=app.note.s())
    work()
    assert app.log_of_calls == [("note", 3)]


def test_errbacks_old_and_new(app: Any, work: Any) -> None:
    result = app.fail.apply_async(link_error=[app.old_errback.s(), app.new_errback.s()])
    work()
    calls = {call[0]: call for call in app.log_of_calls}
    assert calls["old"] == ("old", result.id)
    assert calls["new"][1] == result.id
    assert isinstance(calls["new"][2], ValueError)
    assert "no luck" in calls["new"][3]


@pytest.mark.sent
def test_a_failure_fails_the_rest_of_the_chain(app: Any, work: Any) -> None:
    flow = app.add.s(1, 1) | app.fail.s() | app.add.s(5) | group(app.add.s(1), app.add.s(2))
    result = flow.on_error(app.new_errback.s()).delay()
    assert work() == ["tasks.add", "tasks.fail"]
    assert [member.state for member in result.results] == ["FAILURE", "FAILURE"]
    with pytest.raises(ValueError, match="no luck"):
        result.get(timeout=0)
    assert result.parent.state == "FAILURE"
    assert [call[0] for call in app.log_of_calls] == ["new"]


def test_a_failure_in_the_header_fails_the_body(app: Any, work: Any) -> None:
    body = app.total.s().on_error(app.new_errback.s())
    result = chord([app.add.s(1, 1), app.fail.s(), app.add.s(2, 2)], body).apply_async()
    assert sorted(work()) == ["tasks.add", "tasks.add", "tasks.fail"]
    with pytest.raises(ChordError, match=r"ValueError\('no luck'\)"):
        result.get(timeout=0)
    ((kind, task_id, error, _),) = app.log_of_calls
    assert (kind, task_id, type(error)) == ("new", result.id, ChordError)


@pytest.mark.sent
def test_a_failure_in_the_header_fails_all_that_was_to_follow(app: Any, work: Any) -> None:
    flow = group(app.add.s(1, 1), app.fail.s()) | app.total.s() | app.add.s(1) | group(app.add.s(1), app.add.s(2))
    result = flow.delay()
    work()
    assert [member.state for member in result.results] == ["FAILURE", "FAILURE"]
    assert result.parent.state == "FAILURE"
    with pytest.raises(ChordError):
        result.get(timeout=0)


def test_a_failure_inside_a_header_reaches_the_outer_body(app: Any, work: Any) -> None:
    inner = chord([app.fail.s(), app.add.s(2, 2)], app.total.s() | app.add.s(1))
    broken_chain = app.fail.s() | app.add.s(1) | app.add.s(2)
    result = chord([inner, broken_chain, app.add.s(5, 5)], app.total.s()).apply_async()
    work()
    assert result.state == "FAILURE"
    with pytest.raises(ChordError):
        result.get(timeout=0)


def test_a_body_that_fails_calls_its_errback(app: Any, work: Any) -> None:
    result = chord([app.add.s(1, 1)], app.fail.s()).apply_async(link_error=app.new_errback.s())
    work()
    assert result.state == "FAILURE"
    assert [call[:2] for call in app.log_of_calls] == [("new", result.id)]


def test_map_starmap_and_chunks(app: Any, work: Any) -> None:
    mapped = app.same.map([1, 2, 3]).delay()
    starred = app.add.starmap([(1, 2), (3, 4)]).delay()
    parcels = app.add.chunks(((n, n) for n in range(5)), 2)()
    assert work() == ["celery.map", "celery.starmap", "celery.starmap", "celery.starmap", "celery.starmap"]
    assert mapped.get(timeout=0) == [1, 2, 3]
    assert starred.get(timeout=0) == [3, 7]
    assert parcels.get(timeout=0) == [[0, 2], [4, 6], [8]]


def test_a_map_in_a_chain(app: Any, work: Any) -> None:
    result = (app.same.map([1, 2, 3]) | app.total.s()).delay()
    work()
    assert result.get(timeout=0) == 6


@pytest.mark.sent
def test_a_task_that_nobody_registered_is_sent_by_its_name(app: Any) -> None:
    result = (signature("elsewhere.first", app=app) | signature("elsewhere.second", app=app)).delay()
    queue = app.conf.task_default_queue
    assert app.connections.broker().size([queue]) == {queue: 1}
    assert result.state == "PENDING"


@pytest.mark.sent
def test_the_steps_of_a_long_chain_travel_once(app: Any, work: Any) -> None:
    result = chain(app.add.s(0, 1), *[app.add.s(1)] * 199).apply_async()
    work()
    assert result.get(timeout=0) == 200
    assert [len(body[2]["chain"] or ()) for body in work.bodies] == list(range(199, -1, -1))


@pytest.mark.sent
def test_the_message_of_alternating_chords_grows_by_steps_and_not_by_powers(app: Any, work: Any) -> None:
    flow = app.add.s(1, 1)
    for _ in range(8):
        flow = flow | group(app.same.s(), app.same.s()) | app.total.s()
    result = flow.delay()
    work()
    assert result.get(timeout=0) == 2 * 2**8
    assert max(len(str(body)) for body in work.bodies) < 40_000


def test_a_signature_can_be_sent_many_times(app: Any, work: Any) -> None:
    flow = chord([app.add.s(1, 1), app.add.s(1, 2)], app.total.s()) | app.add.s(1)
    results = [flow.delay() for _ in range(3)]
    work()
    assert len({result.id for result in results}) == 3
    assert [result.get(timeout=0) for result in results] == [6, 6, 6]


def test_freezing_settles_the_ids_that_are_sent(app: Any, work: Any) -> None:
    for flow in (
        app.add.s(1, 1),
        app.add.s(1, 1) | app.add.s(2),
        group(app.add.s(1, 1), app.add.s(2, 2)),
        chord([app.add.s(1, 1), app.add.s(2, 2)], app.total.s()),
        app.add.s(1, 1) | group(app.add.s(1), app.add.s(2)) | app.total.s(),
        group(app.add.s(1, 1) | app.add.s(2), app.add.s(1, 1) | group(app.add.s(1), app.add.s(2)), app.add.s(3)),
        chord([app.add.s(1, 1) | group(app.add.s(1), app.add.s(2)), app.add.s(1, 1)], app.total.s()),
        chord([chord([app.add.s(1, 1)], app.total.s() | app.add.s(1)), app.add.s(1, 1) | app.add.s(2)], app.total.s()),
        chord([chord([app.add.s(1, 1)], group(app.total.s(), app.total.s()))], app.same.s() | app.total.s()),
        chord([chord([], app.total.s()), chord([app.add.s(1)], app.same.s())], chord([app.same.s()], app.same.s())),
    ):
        frozen = flow.freeze()
        sent = flow.apply_async()
        assert sent.as_tuple() == frozen.as_tuple()
        work()
        assert frozen.get(timeout=0) == sent.get(timeout=0)


def test_eager_workflows(app: Any) -> None:
    flow = app.add.s(1, 1) | group(app.add.s(1), app.add.s(2)) | app.total.s() | app.add.s(100)
    assert flow.apply().get() == 107
    assert group(app.add.s(1, 1), app.add.s(2, 2)).apply().get() == [2, 4]
    assert chord([app.add.s(1, 1)], app.total.s()).apply().get() == 2
    app.conf.task_always_eager = True
    app._parts.clear()
    assert flow.delay().get() == 107
    assert (~group(app.add.s(1, 1), app.add.s(2, 2))) == [2, 4]
    assert xmap(app.same.s(), [1, 2], app=app).apply().get() == [1, 2]
    assert chunks(app.add.s(), [(1, 2), (3, 4)], 1, app=app)().get() == [[3], [7]]


@pytest.mark.sent
def test_the_children_of_a_task_are_what_followed_it(app: Any, work: Any) -> None:
    result = (app.add.s(1, 1) | app.add.s(2)).delay()
    work()
    first = result.parent
    assert [child.id for child in first.children] == [result.id]
    assert [(node.id, value) for node, value in first.collect()] == [(first.id, 2), (result.id, 4)]
    assert result.id in first.graph.to_dot()


@pytest.fixture
def polled(monkeypatch: pytest.MonkeyPatch, app: Any) -> None:
    """A backend that all can look into, but that does not count."""
    monkeypatch.setattr(type(app.load_backend()), "capabilities", frozenset({BackendCapability.SHARED}))
    app.conf.result_chord_retry_interval = 0


@pytest.mark.sent
def test_where_nobody_counts_a_task_looks_until_the_header_is_complete(app: Any, work: Any, polled: None) -> None:
    result = chord([app.add.s(1, 1) | app.add.s(1) | app.add.s(1), app.add.s(5, 5)], app.same.s()).apply_async()
    names = work()
    assert names.count("celery.chord_unlock") > 1
    assert result.get(timeout=0) == [4, 10]


def test_where_nobody_counts_a_failure_fails_the_body_too(app: Any, work: Any, polled: None) -> None:
    result = chord([app.add.s(1, 1), app.fail.s()], app.same.s()).apply_async(link_error=app.new_errback.s())
    work()
    with pytest.raises(ChordError, match=r"ValueError\('no luck'\)"):
        result.get(timeout=0)
    assert [call[0] for call in app.log_of_calls] == ["new"]
