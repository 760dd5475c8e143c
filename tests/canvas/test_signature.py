"""Signatures by themselves."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest

from umbel.canvas import chain, chord, group, maybe_signature, signature
from umbel.canvas.signature import Signature
from umbel.model.exceptions import InvalidTaskError, NotRegistered


def test_a_clone_shares_nothing_that_is_changed(app: Any) -> None:
    for original in (
        app.add.s(1, 2).set(link=[app.note.s()], headers={"a": 1}),
        app.add.s(1) | app.add.s(2),
        group(app.add.s(1), app.add.s(2)),
        chord([app.add.s(1)], app.total.s()),
    ):
        before = json.dumps(original)
        for copied in (original.clone(), copy.deepcopy(original), signature(original)):
            assert type(copied) is type(original) and copied == original
            copied.set(queue="q").link(app.note.s("more"))
            copied.kwargs["x"] = 1
            copied.freeze()
            assert json.dumps(original) == before


def test_arguments_and_options_are_merged(app: Any) -> None:
    sig = app.add.s(2, z=1).set(queue="a", group_id="g")
    cloned = sig.clone((1,), {"z": 3, "y": 4}, queue="b", group_id="other")
    assert (cloned.args, cloned.kwargs) == ((1, 2), {"z": 3, "y": 4})
    assert cloned.options == {"queue": "b", "group_id": "g"}
    frozen = app.add.si(2).clone((1,), {"y": 4}, queue="b")
    assert (frozen.args, frozen.kwargs, frozen.options) == ((2,), {}, {"queue": "b"})
    replaced = sig.replace(args=(9,), kwargs={}, options={})
    assert (replaced.args, replaced.kwargs, replaced.options) == ((9,), {}, {})


def test_links_are_added_once(app: Any) -> None:
    sig = app.add.s(1, 2)
    callback = app.note.s()
    assert sig.link(callback) is callback and sig.link(callback) is callback
    assert sig.on_error(callback) is sig
    assert sig.options == {"link": [callback], "link_error": [callback]}
    callback.link(app.same.s())
    assert [linked.task for linked in sig.flatten_links()] == ["tasks.add", "tasks.note", "tasks.same"]


def test_signatures_as_text(app: Any) -> None:
    assert repr(app.add.s(1, y=2)) == "tasks.add(1, y=2)"
    assert app.add.s(2).reprcall(1) == "tasks.add(1, 2)"
    assert repr(app.add.s(1, 2) | app.add.s(3)) == "tasks.add(1, 2) | add(3)"
    assert repr(group(app.add.s(1), app.add.s(2))) == "group([tasks.add(1), add(2)])"
    assert repr(chord([app.add.s(1)], app.total.s())) == "%tasks.total([add(1)])"
    assert (repr(group()), repr(chain())) == ("group(<empty>)", "chain(<empty>)")


def test_signatures_as_json_and_pickle(app: Any) -> None:
    flow = app.add.s(1, 1) | group(app.add.s(1), app.add.s(2)) | app.total.s()
    back = signature(json.loads(json.dumps(flow)), app=app)
    assert type(back) is type(flow) and json.dumps(back) == json.dumps(flow)
    assert pickle.loads(pickle.dumps(flow)) == flow


def test_maybe_signature(app: Any) -> None:
    sig = app.add.s(1)
    assert maybe_signature(None) is None and maybe_signature(sig) is sig
    assert maybe_signature(sig, clone=True) is not sig
    assert maybe_signature({"task": "tasks.add"}, app=app).app is app


def test_what_is_not_registered_has_no_type(app: Any) -> None:
    with pytest.raises(NotRegistered):
        _ = signature("nowhere", app=app).type
    assert app.add.s().type is app.add


@pytest.mark.parametrize(
    "data", [{}, {"task": 3}, {"task": "t", "subtask_type": "eval"}, {"subtask_type": "group", "kwargs": {}}]
)
def test_dicts_that_are_no_signatures_are_refused(data: Any) -> None:
    with pytest.raises(InvalidTaskError):
        maybe_signature(data)


def test_a_signature_that_nests_too_deeply_is_refused() -> None:
    data: Any = {"task": "t"}
    for _ in range(5000):
        data = {"task": "celery.chain", "subtask_type": "chain", "kwargs": {"tasks": [data]}}
    with pytest.raises(InvalidTaskError, match="deeply"):
        maybe_signature(data)


def test_a_type_of_ones_own() -> None:
    @Signature.register_type("mine")
    class Mine(Signature):
        """A kind of signature that a user adds."""

    try:
        assert type(maybe_signature({"task": "t", "subtask_type": "mine"})) is Mine
    finally:
        del Signature.TYPES["mine"]


def test_wrong_uses_say_what_to_do(app: Any) -> None:
    with pytest.raises(TypeError, match="make it a chord"):
        group(app.add.s(1)).apply_async(link=app.note.s())
    with pytest.raises(TypeError, match="link_error on it"):
        group(app.add.s(1)).apply_async(link_error=app.note.s())
    with pytest.raises(TypeError, match="made of signatures"):
        chain(app.add.s(1), "no signature")
    with pytest.raises(TypeError, match="with a body"):
        chord([app.add.s(1)], app=app).apply_async()
    with pytest.raises(TypeError):
        app.add.s(1) | 3
    with pytest.raises(ValueError, match="empty chain"):
        chain().freeze()
    assert chain().apply_async() is None


def test_skew_lets_tasks_start_one_after_another(app: Any) -> None:
    tasks = group(app.add.s(n) for n in range(4)).skew(1, 3)
    assert [task.options["countdown"] for task in tasks.tasks] == [1, 2, 3, 3]
