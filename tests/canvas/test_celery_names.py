"""The public names of signatures beside those of the installed Celery: what is missing here is listed, and why."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import umbel.canvas
import umbel.model.request
from umbel.app.task import Task

celery = pytest.importorskip("celery")
pytest.importorskip("celery.canvas")

KINDS = ["Signature", "_chain", "chain", "group", "chord", "_chord", "chunks", "xmap", "xstarmap", "StampingVisitor"]

WITHOUT = {
    # A worker's part of sending a chain and a chord, which users of apply_async and freeze do not call.
    ("_chain", "prepare_steps"), ("_chain", "run"), ("chain", "prepare_steps"), ("chain", "run"),
    ("_chord", "run"), ("chord", "run"),
}  # fmt: skip
"""What Celery's classes have and ours do not."""

OTHERWISE_CALLED = {"d", "sig"}
"""Parameters that go by another name here; Celery's own callers pass them by position."""

SPECIAL = ["__call__", "__deepcopy__", "__invert__", "__ior__", "__json__", "__or__", "__reduce__", "__class_getitem__"]


def public(kind: Any) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")} | {name for name in SPECIAL if hasattr(kind, name)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_the_names_of_celerys(kind: str) -> None:
    ours, theirs = getattr(umbel.canvas, kind), getattr(celery.canvas, kind)
    assert public(theirs) - public(ours) == {name for whose, name in WITHOUT if whose == kind}


@pytest.mark.parametrize("kind", KINDS)
def test_every_method_takes_the_parameters_of_celerys(kind: str) -> None:
    ours, theirs = getattr(umbel.canvas, kind), getattr(celery.canvas, kind)
    for name in public(theirs) & public(ours):
        their_method, our_method = getattr(theirs, name), getattr(ours, name)
        if not (inspect.isroutine(their_method) and inspect.isroutine(our_method)) or hasattr(dict, name):
            continue
        parameters = inspect.signature(our_method).parameters
        if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
            continue
        missing = inspect.signature(their_method).parameters.keys() - parameters.keys() - OTHERWISE_CALLED
        assert not missing, f"{kind}.{name} does not take {missing}"


def test_the_module_has_the_names_of_celerys() -> None:
    assert set(celery.canvas.__all__) | {"subtask", "maybe_subtask"} <= set(dir(umbel.canvas))


def test_a_task_makes_the_signatures_that_celerys_makes() -> None:
    names = ["s", "si", "signature", "subtask", "map", "starmap", "chunks", "replace", "add_to_chord", "retry"]
    names += ["signature_from_request", "subtask_from_request", "apply", "apply_async", "delay"]
    for name in names:
        their_method = getattr(celery.Task, name)
        parameters = inspect.signature(getattr(Task, name)).parameters
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters.values()):
            assert inspect.signature(their_method).parameters.keys() - OTHERWISE_CALLED <= parameters.keys(), name


def test_a_signature_of_a_request_is_the_one_that_celery_makes(app: Any, theirs: Any) -> None:
    fields = {
        "id": "an-id", "root_id": "root", "parent_id": "parent", "args": [1, 2], "kwargs": {"y": 3}, "retries": 2,
        "group": "g", "group_index": 1, "timelimit": [10, 5], "origin": "me", "replaced_task_nesting": 1,
        "delivery_info": {"exchange": "", "routing_key": "a-queue", "priority": 4}, "called_directly": False,
        "stamped_headers": ["tenant"], "stamps": {"tenant": "t1"}, "headers": {"x": 1}, "reply_to": "reply",
    }  # fmt: skip
    ours = app.add.signature_from_request(umbel.model.request.Context(**fields), countdown=3)
    made = theirs.tasks["tasks.add"].signature_from_request(celery.app.task.Context(**fields), countdown=3)
    assert (ours.task, list(ours.args), ours.kwargs) == (made.task, list(made.args), made.kwargs)
    without = {"ignore_result"}
    assert {name: value for name, value in ours.options.items() if value is not None and name not in without} == {
        name: value for name, value in made.options.items() if value is not None and name not in without
    }


def test_an_election_is_won_by_the_worker_that_takes_the_task(app: Any, work: Any) -> None:
    sig = app.add.s(1, 2)
    frozen = sig.freeze()
    result = sig.election()
    assert work() == ["tasks.add"]
    assert (result.id, result.get(timeout=0)) == (frozen.id, 3)


def test_the_class_of_its_result_and_its_task(app: Any) -> None:
    assert app.add.s(1).AsyncResult("an-id").id == "an-id"
    assert umbel.canvas.signature("elsewhere", app=app).AsyncResult("an-id").id == "an-id"
    sig = app.add.s(1)
    assert (sig.type, sig.name, sig.app, sig.id, sig.parent_id, sig.root_id) == (
        app.add, "tasks.add", app, None, None, None,
    )  # fmt: skip
    sig.id, sig.root_id, sig.parent_id = "i", "r", "p"
    assert sig.options == {"task_id": "i", "root_id": "r", "parent_id": "p"}


def test_a_kind_of_ones_own_makes_its_signatures_itself() -> None:
    class Mine(umbel.canvas.Signature):
        """A kind of signature with a member of its own."""

        @classmethod
        def from_dict(cls, data: Any, app: Any = None) -> Any:
            made = cls(data["task"], app=app, subtask_type="mine")
            made["more"] = data["more"]
            return made

    Mine.register_type("mine")(Mine)
    try:
        made = umbel.canvas.signature({"task": "t", "subtask_type": "mine", "more": 1})
        assert (type(made), made["more"], type(made.clone()), made.clone()["more"]) == (Mine, 1, Mine, 1)
    finally:
        del umbel.canvas.Signature.TYPES["mine"]


def test_a_kind_of_ones_own_is_frozen_sent_and_run_in_its_own_way_also_inside_others(app: Any, work: Any) -> None:
    done = []

    @umbel.canvas.Signature.register_type("mine")
    class Mine(umbel.canvas.Signature):
        """A kind of signature that does everything itself."""

        def freeze(self, *args: Any, **kwargs: Any) -> Any:
            done.append("freeze")
            return super().freeze(*args, **kwargs)

        def apply_async(self, *args: Any, **kwargs: Any) -> Any:
            done.append("apply_async")
            return super().apply_async(*args, **kwargs)

        def apply(self, *args: Any, **kwargs: Any) -> Any:
            done.append("apply")
            return super().apply(*args, **kwargs)

    try:
        mine = Mine("tasks.add", (1, 1), app=app, subtask_type="mine")
        flow = umbel.canvas.chord([mine, app.add.s(2, 2)], app.total.s())
        result = flow.apply_async()
        work()
        assert (result.get(timeout=0), done) == (6, ["freeze", "apply_async"])
        done.clear()
        assert (flow.apply().get(), done) == (6, ["apply"])
    finally:
        del umbel.canvas.Signature.TYPES["mine"]
