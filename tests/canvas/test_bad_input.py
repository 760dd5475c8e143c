"""What is no workflow is refused where it is made or sent, with the task and the argument that are wrong."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from umbel.app.app import Umbel
from umbel.canvas import chain, chord, chunks, group, maybe_signature, signature, xmap
from umbel.canvas.signature import Signature
from umbel.model.exceptions import InvalidTaskError
from umbel.model.ids import uuid
from umbel_kernel.errors import EncodeError


@pytest.fixture
def resultless() -> Iterator[Any]:
    """An app that keeps no results."""
    app = Umbel("resultless", broker=f"memory://{uuid()}", set_as_current=False)
    app.task(name="tasks.add")(lambda x, y=0: x + y)
    yield app
    app.close()


PARTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "group of numbers": (lambda app: group([1, 2]), r"a group .* not of int 1 \(member 0\)"),
    "group of a number": (lambda app: group(5), "a group .* not of int 5"),
    "group of a text": (lambda app: group("add"), "a group .* not of str 'add'"),
    "group with None": (lambda app: group([app.add.s(1), None]), r"not of NoneType None \(member 1\)"),
    "group with a task": (lambda app: group(app.add.s(1), app.add), r"\(member 1\); call its s\(\)"),
    "group of a task": (lambda app: group(app.add), "a group .* <@task: tasks.add"),
    "chain with a number": (lambda app: chain(app.add.s(1), 5), "a chain .* not of int 5"),
    "chain of a number": (lambda app: chain(5), "a chain .* not of int 5"),
    "chord of a number": (lambda app: chord(5, app.add.s()), "the header of a chord .* not of int 5"),
    "chord of numbers": (lambda app: chord([5], app.add.s()), r"the header of a chord .* int 5 \(member 0\)"),
    "body that is a number": (lambda app: chord([app.add.s(1)], 5), "the body of a chord .* not int 5"),
    "body that is a name": (lambda app: chord([app.add.s(1)], "tasks.add"), "the body of a chord .* 'tasks.add'"),
    "map of a number": (lambda app: xmap(5, [1]), "celery.map calls a signature, such as .* not int 5"),
    "map over a number": (lambda app: app.add.map(5), "celery.map goes through a list .* not int 5"),
    "chunks over a number": (lambda app: app.add.chunks(5, 2), "celery.chunks goes through a list .* not int 5"),
    "chunks of a name": (lambda app: chunks("add", [1], 2), "celery.chunks calls a signature.* 'add'"),
    "signature of a number": (lambda app: signature(5), "of a task or its name, not of int 5"),
    "args that are a text": (lambda app: signature("tasks.add", args="ab"), "args of .* tasks.add .* str 'ab'"),
    "args that are a number": (lambda app: signature("tasks.add", args=5), "args of .* tasks.add .* int 5"),
    "kwargs that are a list": (lambda app: app.add.signature((), [1]), r"kwargs of .* tasks.add .* list \[1\]"),
    "no task at all": (lambda app: Signature(app=app).delay(), "without a task"),
}


@pytest.mark.parametrize("name", PARTS)
def test_what_is_no_part_of_a_workflow(app: Any, name: str) -> None:
    make, message = PARTS[name]
    with pytest.raises(TypeError, match=message):
        make(app)


def test_a_chunk_holds_something(app: Any) -> None:
    with pytest.raises(ValueError, match="the size of a chunk is a whole number of 1 or more, not 0"):
        app.add.chunks([(1, 2)], 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"task": "tasks.add", "arg": [1]}, "signature of 'tasks.add' has unknown members: 'arg'"),
        ({"task": "tasks.add", "args": 5}, "'args' of the signature of tasks.add is a list, not int 5"),
        ({"task": "tasks.add", "args": "ab"}, "'args' of the signature of tasks.add is a list, not str 'ab'"),
        ({"task": "tasks.add", "kwargs": [1]}, "'kwargs' of the signature of tasks.add is a mapping, not list"),
        ({"task": "tasks.add", "options": [1]}, "'options' of the signature of tasks.add is a mapping, not list"),
        ({"task": "tasks.add", "subtask_type": ["x"]}, "'subtask_type' of the signature of tasks.add is a text"),
        ({"task": "tasks.add", "subtask_type": "eval"}, "'eval' is no kind of signature; known: chain, chord"),
        ({"args": [1]}, "has the name of a task as its 'task', not NoneType None"),
    ],
)
def test_dicts_of_the_wrong_shape(app: Any, data: Any, message: str) -> None:
    for make in (signature, lambda data: group([app.add.s(1, 1), data]).apply_async()):
        with pytest.raises(InvalidTaskError, match=message):
            make(data)


def test_members_of_a_dict_that_came_in_a_message_may_be_of_a_later_celery() -> None:
    data = {"task": "celery.group", "subtask_type": "group", "kwargs": {"tasks": [{"task": "t", "later": 1}]}}
    assert maybe_signature({**data, "later": 2}).tasks[0].task == "t"


BROKEN: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "argument": (lambda app, bad: app.add.s(1, bad), "argument 1 of tasks.add cannot be sent"),
    "named argument": (lambda app, bad: app.add.s(1, y={"z": [bad]}), "argument 'y' of tasks.add cannot be sent"),
    "step": (lambda app, bad: app.same.s(1) | app.add.s(bad), "argument 0 of tasks.add, in the chain of tasks.same"),
    "member": (lambda app, bad: group(app.same.s(1), app.add.s(1, bad)), "argument 1 of tasks.add cannot be sent"),
    "body": (
        lambda app, bad: chord([app.same.s(1)], app.add.s(y=bad)),
        "argument 'y' of tasks.add, in the chord of tasks.same",
    ),
    "callback": (
        lambda app, bad: app.same.signature((1,), link=app.add.s(bad)),
        "argument 0 of tasks.add, in the callbacks of tasks.same",
    ),
    "errback in a group in a chain": (
        lambda app, bad: app.same.s(1) | group(app.add.s(1), app.total.s().on_error(app.note.s(bad))),
        "argument 0 of tasks.note, in the chain of tasks.same",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_argument_that_cannot_be_written_is_named(app: Any, name: str) -> None:
    make, message = BROKEN[name]
    with pytest.raises(EncodeError, match=f"{message}.*(object|Thing).*cannot be written as JSON"):
        make(app, object()).apply_async()
    with pytest.raises(EncodeError, match=r"argument 0 of tasks.add cannot be sent"):
        app.add.delay(object())


HEADERS: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "call": (lambda app, bad: app.add.s(1).set(headers={"good": 1, "mine": bad}), "header 'mine' of tasks.add"),
    "inside": (lambda app, bad: app.add.s(1).set(headers={"mine": {"a": [1, bad]}}), "header 'mine' of tasks.add"),
    "stamp": (lambda app, bad: app.add.s(1).stamp(who=bad), "stamp 'who' of tasks.add"),
    "member": (
        lambda app, bad: group(app.add.s(1), app.same.s(1).set(headers={"mine": bad})), "header 'mine' of tasks.same"
    ),
    "first step": (
        lambda app, bad: app.same.s(1).set(headers={"mine": bad}) | app.add.s(1), "header 'mine' of tasks.same"
    ),
}  # fmt: skip


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize("bad", [object(), {1, 2}], ids=["object", "set"])
@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_cannot_be_written_is_named(app: Any, name: str, bad: Any, eager: bool) -> None:
    make, message = HEADERS[name]
    app.conf.task_always_eager = eager
    app._parts.clear()
    with pytest.raises(EncodeError, match=f"{message} cannot be sent: .*cannot stand in a message header; use None"):
        make(app, bad).apply_async()
    assert app.connections.broker().size(["celery"]).get("celery", 0) == 0


LATER: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "step": (
        lambda app, bad: app.same.s(1) | app.add.s(1).set(headers={"mine": bad}),
        "header 'mine' of tasks.add, in the chain of tasks.same",
    ),
    "body": (
        lambda app, bad: chord([app.same.s(1)], app.total.s().set(headers={"good": 1, "mine": [bad]})),
        "header 'mine' of tasks.total, in the chord of tasks.same",
    ),
    "stamp of a callback": (
        lambda app, bad: app.same.signature((1,), link=app.add.s(1).stamp(who=bad)),
        "stamp 'who' of tasks.add, in the callbacks of tasks.same",
    ),
    "option": (
        lambda app, bad: app.same.s(1) | app.add.s(1).set(tenant=bad),
        "option 'tenant' of tasks.add, in the chain of tasks.same",
    ),
}


@pytest.mark.parametrize("name", LATER)
def test_a_header_of_a_later_part_that_cannot_be_written_is_named(app: Any, name: str) -> None:
    make, message = LATER[name]
    with pytest.raises(EncodeError, match=f"{message} cannot be sent: .*object.*cannot be written as JSON"):
        make(app, object()).apply_async()


def test_headers_of_a_wrong_shape_are_named(app: Any) -> None:
    with pytest.raises(TypeError, match=r"the headers of tasks.add are a mapping, not list"):
        app.add.apply_async((1,), headers=[1])
    itself: list[Any] = []
    itself.append(itself)
    with pytest.raises(EncodeError, match=r"header 'mine' of tasks.add cannot be sent: a value that holds itself"):
        app.add.apply_async((1,), headers={"mine": itself})


@pytest.mark.parametrize("link", ["tasks.note", 5, [5]])
@pytest.mark.parametrize("option", ["link", "link_error"])
def test_a_callback_that_is_no_signature_is_refused_by_the_call(app: Any, option: str, link: Any) -> None:
    name = {"link": "callbacks", "link_error": "errbacks"}[option]
    with pytest.raises(InvalidTaskError, match=f"tasks.add's {name}: a signature is expected, not "):
        app.add.apply_async((1, 2), **{option: link})
    assert app.connections.broker().size(["celery"]).get("celery", 0) == 0


def test_a_chord_needs_somewhere_to_keep_results(resultless: Any) -> None:
    add = resultless.tasks["tasks.add"]
    for flow in (chord([add.s(1, 1)], add.s(1)), group(add.s(1, 1), add.s(2)) | add.s(1)):
        with pytest.raises(NotImplementedError, match=r"a chord needs a result backend.*set result_backend"):
            flow.apply_async()


def linked_to_itself(app: Any) -> Any:
    sig = app.add.s(1, 1)
    sig.link(sig)
    return sig


def linked_in_a_ring(app: Any) -> Any:
    first, second = app.add.s(1, 1), app.same.s()
    first.link(second)
    second.link_error(first)
    return first


def holding_itself(flow: Any) -> Any:
    flow.tasks.append(flow)
    return flow


def linked_to_its_chain(app: Any) -> Any:
    flow = chain(app.add.s(1, 1), app.add.s(1))
    flow.tasks[0].link(flow)
    return flow


def own_body(app: Any) -> Any:
    flow = chord([app.add.s(1, 1)], app.total.s())
    flow.body = flow
    return flow


RINGS: dict[str, Callable[[Any], Any]] = {
    "a signature linked to itself": linked_to_itself,
    "two signatures linked to each other": linked_in_a_ring,
    "a chain in itself": lambda app: holding_itself(chain(app.add.s(1, 1), app.add.s(1))),
    "a group in itself": lambda app: holding_itself(group(app.add.s(1, 1), app.add.s(1))),
    "a chord in its header": lambda app: holding_itself(chord([app.add.s(1, 1)], app.total.s())),
    "a chord as its body": own_body,
    "a chain linked to its own task": linked_to_its_chain,
}


@pytest.mark.parametrize("name", RINGS)
def test_what_holds_itself_is_refused(app: Any, name: str) -> None:
    flow = RINGS[name](app)
    for use in (flow.apply_async, flow.delay, flow.clone, lambda: group(app.same.s(1), flow).apply_async()):
        with pytest.raises(InvalidTaskError, match=r"holds itself") as caught:
            use()
        assert "tasks." in str(caught.value) or "celery." in str(caught.value)


NESTS: dict[str, Callable[[Any, Any], Any]] = {
    "chord": lambda app, flow: Signature.TYPES["chord"]([flow, app.same.si(1)], app.total.si([])),
    "chain and group": lambda app, flow: Signature.TYPES["chain"](app.same.si(1), group([flow, app.same.si(1)])),
    "link": lambda app, flow: app.same.signature((1,), immutable=True, link=[flow]),
}


@pytest.mark.parametrize(
    ("kind", "depth"),
    [
        pytest.param("chord", 120, marks=pytest.mark.slow),
        ("chord", 400),
        *itertools.product(("chain and group", "link"), (120, 400)),
        ("link", 3000),
    ],
)
def test_what_nests_too_deeply_is_refused_by_the_call_and_not_by_the_worker(app: Any, kind: str, depth: int) -> None:
    def build() -> Any:
        flow = app.same.si(1)
        for _ in range(depth):
            flow = NESTS[kind](app, flow)
        return flow

    with pytest.raises(InvalidTaskError, match=r"nests too deeply|nest deeper than 100"):
        build().apply_async()


def test_what_a_worker_takes_may_nest(app: Any, work: Any) -> None:
    flow = app.same.si(1)
    for _ in range(20):
        flow = chord([flow, app.same.si(1)], app.total.s())
    result = flow.apply_async()
    work()
    assert result.get(timeout=0) == 21
