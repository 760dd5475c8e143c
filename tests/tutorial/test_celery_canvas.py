"""The constructs of Celery's guide to workflows, unchanged but for the import, on Redis with a worker.

What only makes something of signatures is made with Celery's classes too, and must be the same text and the same data.
"""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest

import umbel.canvas
from umbel import Umbel, chain, chord, group, signature
from umbel.canvas import StampingVisitor
from umbel.exceptions import ChordError
from umbel.results import GroupResult

celery = pytest.importorskip("celery")
pytest.importorskip("celery.utils.graph")

WAIT = 20
NAMES = (
    "add", "mul", "xsum", "tsum", "fail", "log_error", "on_chord_error", "log_result", "old_errback", "reset_buffers",
    "create_user", "import_contacts", "send_welcome_email", "notify_complete",
)  # fmt: skip


def until(condition: Callable[[], Any]) -> None:
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


class Tasks:
    """The guide's tasks, and what those that only take note were called with."""

    def __init__(self, app: Any, **options: Any) -> None:
        self.heard: list[Any] = []

        def add(x: Any, y: Any, debug: bool = False) -> Any:
            return x + y

        def mul(x: Any, y: Any) -> Any:
            return x * y

        def total(numbers: Any) -> Any:
            return sum(numbers)

        def fail(*args: Any) -> None:
            raise ValueError("something something")

        def on_error(request: Any, exc: Any, traceback: Any) -> None:
            self.heard.append((request.id, exc))

        def note(*args: Any, **kwargs: Any) -> None:
            self.heard.append(args or kwargs)

        def old_errback(task_id: str) -> None:
            self.heard.append(task_id)

        def user(username: str, first: str, last: str, email: str) -> str:
            return f"{username}: {first} {last} <{email}>"

        functions: dict[str, Any] = {
            "add": add, "mul": mul, "xsum": total, "tsum": total, "fail": fail, "log_error": on_error,
            "on_chord_error": on_error, "old_errback": old_errback, "create_user": user,
        }  # fmt: skip
        for name in NAMES:
            setattr(self, name, app.task(name=f"proj.tasks.{name}", **options)(functions.get(name, note)))

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the guide has no task {name}")


@pytest.fixture
def tasks(app: Umbel) -> Tasks:
    """The guide's tasks in umbel."""
    return Tasks(app)


@pytest.fixture(scope="module")
def theirs() -> Tasks:
    """The guide's tasks in Celery, which are not sent."""
    app = celery.Celery("theirs", broker="memory://", backend="cache+memory://", set_as_current=False)
    made = Tasks(app, shared=False)
    app.finalize()
    return made


def linked(sig: Any, *callbacks: Any) -> Any:
    for callback in callbacks:
        sig.link(callback)
    return sig


def errlinked(sig: Any, *errbacks: Any) -> Any:
    for errback in errbacks:
        sig.link_error(errback)
    return sig


def visited(k: Any, sig: Any, **options: Any) -> Any:
    """Stamped by the guide's visitor, which says something on every occasion."""

    class CustomStampingVisitor(k.canvas.StampingVisitor):  # type: ignore[misc,name-defined]
        def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
            return {"header": "value", "left_out": 1, "stamped_headers": ["header"]}

        def on_callback(self, callback: Any, **header: Any) -> dict[str, Any]:
            return {"on_callback": True}

        def on_errback(self, errback: Any, **header: Any) -> dict[str, Any]:
            return {"on_errback": True}

        def on_group_start(self, group: Any, **headers: Any) -> dict[str, Any]:
            return {"on_group": True}

        def on_chain_start(self, chain: Any, **headers: Any) -> dict[str, Any]:
            return {"on_chain": True}

        def on_chord_body(self, sig: Any, **header: Any) -> dict[str, Any]:
            return {"on_chord_body": True}

    sig.stamp(visitor=CustomStampingVisitor(), **options)
    return sorted_names(sig)


def stamped(sig: Any, **stamps: Any) -> Any:
    sig.stamp(**stamps)
    return sorted_names(sig)


def sorted_names(value: Any) -> Any:
    """Plain data, in which the names of the stamps, which Celery keeps in a set, are in order, and in which a header is
    a list, of which Celery's walk makes a group."""
    value = json.loads(json.dumps(value, default=list, sort_keys=True))
    if isinstance(value, list):
        return [sorted_names(member) for member in value]
    if not isinstance(value, dict):
        return value
    for name, member in value.items():
        if name == "header" and isinstance(member, dict):
            member = member["kwargs"]["tasks"]
        value[name] = sorted(member) if name == "stamped_headers" else sorted_names(member)
    return value


SIGNATURES: dict[str, Callable[[Any, Any], Any]] = {
    "signature of a name": lambda k, t: k.signature("proj.tasks.add", args=(2, 2), countdown=10, app=t.add.app),
    "signature of a task": lambda k, t: t.add.signature((2, 2), countdown=10),
    "s": lambda k, t: t.add.s(2, 2),
    "s with keywords": lambda k, t: t.add.s(2, 2, debug=True),
    "signature with keywords": lambda k, t: t.add.signature((2, 2), {"debug": True}, countdown=10),
    "set": lambda k, t: t.add.s(2, 2).set(countdown=1),
    "clone": lambda k, t: t.add.s(2).clone(args=(4,), kwargs={"debug": True}),
    "replace": lambda k, t: t.add.s(2).replace(args=(4,), options={"queue": "q"}),
    "immutable": lambda k, t: t.add.signature((2, 2), immutable=True),
    "si": lambda k, t: t.add.si(2, 2),
    "immutable link": lambda k, t: t.add.signature((2, 2), link=t.reset_buffers.signature(immutable=True)),
    "links": lambda k, t: linked(t.add.s(2, 2), t.mul.s(4), t.log_result.s()),
    "flatten_links": lambda k, t: linked(t.add.s(2, 2), t.mul.s(4), t.log_result.s()).flatten_links(),
    "on_error": lambda k, t: t.add.s(2, 2).on_error(t.log_error.s()),
    "chain": lambda k, t: k.chain(t.add.s(2, 2), t.add.s(4), t.add.s(8)),
    "|": lambda k, t: t.add.s(4, 4) | t.mul.s(8) | t.mul.s(10),
    "chain.on_error": lambda k, t: (t.add.s(2, 2) | t.add.s(1)).on_error(t.log_error.s()),
    "group": lambda k, t: k.group(t.add.s(2, 2), t.add.s(4, 4)),
    "group of a list": lambda k, t: k.group([t.add.s(2, 2), t.add.s(4, 4)]),
    "group of a generator": lambda k, t: k.group(t.add.s(i, i) for i in range(3)),
    "group.link_error": lambda k, t: errlinked(k.group(t.add.s(2, 2), t.add.s(4, 4)), t.log_error.s()),
    "group of one unrolled": lambda k, t: k.chain(t.add.s(2, 2), k.group(t.add.s(1)), t.add.s(1)),
    "group not unrolled": lambda k, t: k.chain(t.add.s(2, 2), k.group(t.add.s(1), t.add.s(2)), t.add.s(1)),
    "task | group": lambda k, t: t.create_user.s() | k.group(t.import_contacts.s(), t.send_welcome_email.s()),
    "group | task": lambda k, t: k.group(t.add.s(i, i) for i in range(3)) | t.xsum.s(),
    "group | task | task": lambda k, t: k.group(t.add.s(i, i) for i in range(3)) | t.xsum.s() | t.add.s(1),
    "group | group": lambda k, t: k.group(t.add.s(1), t.add.s(2)) | k.group(t.add.s(3), t.add.s(4)),
    "chord": lambda k, t: k.chord([t.add.s(i, i) for i in range(3)], t.tsum.s()),
    "chord without a body": lambda k, t: k.chord([t.add.s(4, 4), t.fail.s(), t.add.s(8, 8)]),
    "chord.link_error": lambda k, t: errlinked(k.chord([t.add.s(4, 4)], t.tsum.s()), t.on_chord_error.s()),
    "body.on_error": lambda k, t: k.group([t.add.s(1, 1)] * 2) | t.tsum.s().on_error(t.on_chord_error.s()),
    "chord of a chain": lambda k, t: k.chord([t.add.s(1, 1)], t.tsum.s() | t.add.s(1)),
    "map": lambda k, t: t.xsum.map([list(range(3)), list(range(4))]),
    "starmap": lambda k, t: t.add.starmap(zip(range(3), range(3), strict=True)),
    "chunks": lambda k, t: t.add.chunks(zip(range(6), range(6), strict=True), 2),
    "chunks.group": lambda k, t: t.add.chunks(zip(range(6), range(6), strict=True), 2).group(),
    "skew": lambda k, t: t.add.chunks(zip(range(6), range(6), strict=True), 2).group().skew(start=1, stop=10),
    "stamp": lambda k, t: stamped(t.add.si(2, 2), stamp="your_custom_stamp"),
    "stamped group": lambda k, t: stamped(k.group(t.add.si(2, 2), t.add.si(3, 3)), stamp="your_custom_stamp"),
    "stamps appended": lambda k, t: stamped(t.add.si(2, 2).set(a=1, stamped_headers=["a"]), a=2, append_stamps=True),
    "visited": lambda k, t: visited(k, t.add.si(2, 2)),
    "visited links": lambda k, t: visited(k, errlinked(linked(t.add.s(2, 2), t.mul.s(4)), t.log_error.s())),
    "visited chain": lambda k, t: visited(k, t.add.s(2, 2) | t.mul.s(4)),
    "visited group": lambda k, t: visited(k, k.group(t.add.s(2, 2), t.mul.s(4))),
    "visited chord": lambda k, t: visited(k, k.chord([t.add.s(2, 2), t.mul.s(4)], t.xsum.s())),
    "visited chord with links": lambda k, t: visited(
        k, errlinked(linked(k.chord([t.add.s(2, 2)], t.xsum.s()), t.mul.s(3)), t.log_error.s()), mine="x"
    ),
}


def plain(text: str) -> str:
    """Without what only says whether it is kept in a tuple, a list or a generator."""
    while text != (shorter := re.sub(r"<_regen: ([^<>]*)>", r"\1", text)):
        text = shorter
    return text.translate(str.maketrans("[]", "()"))


@pytest.mark.filterwarnings("ignore::celery.exceptions.CPendingDeprecationWarning")
@pytest.mark.parametrize("name", SIGNATURES)
def test_a_signature_is_what_it_is_in_celery(tasks: Tasks, theirs: Tasks, name: str) -> None:
    ours, expected = SIGNATURES[name](umbel, tasks), SIGNATURES[name](celery, theirs)
    assert json.loads(json.dumps(ours)) == json.loads(json.dumps(expected))
    assert plain(repr(ours)) == plain(repr(expected))
    assert type(ours).__name__.lstrip("_") == type(expected).__name__.lstrip("_")


def test_signatures(tasks: Tasks, app: Umbel, running: Any) -> None:
    add = tasks.add
    s = add.signature((2, 2), {"debug": True}, countdown=10)
    assert (s.args, s.kwargs, s.options) == ((2, 2), {"debug": True}, {"countdown": 10})
    assert add.s(2, 2)() == 4
    running(app)
    assert signature("proj.tasks.add", args=(2, 2), countdown=0.01).delay().get(timeout=WAIT) == 4
    assert add.s(2, 2).delay().get(timeout=WAIT) == 4
    assert add.s(2, 2).apply_async(countdown=0.01).get(timeout=WAIT) == 4
    assert add.s(2, 2).set(countdown=0.01).delay().get(timeout=WAIT) == 4
    assert ~add.s(2, 2) == 4
    partial = add.s(2)
    assert partial.delay(4).get(timeout=WAIT) == partial.apply_async((4,)).get(timeout=WAIT) == 6
    assert add.s(2, 2).delay(debug=True).get(timeout=WAIT) == 4
    assert add.signature((2, 2), countdown=10).apply_async(countdown=0.01).get(timeout=WAIT) == 4
    assert s.clone(countdown=0.01).delay().get(timeout=WAIT) == 4


def test_callbacks_and_immutability(tasks: Tasks, app: Umbel, running: Any) -> None:
    add, mul = tasks.add, tasks.mul
    running(app)
    add.apply_async((2, 2), link=tasks.reset_buffers.signature(immutable=True))
    add.apply_async((2, 2), link=tasks.reset_buffers.si())
    until(lambda: tasks.heard == [{}, {}])
    res = add.apply_async((2, 2), link=mul.s(16))
    assert res.get(timeout=WAIT) == 4
    assert res.children[0].get(timeout=WAIT) == 64
    assert [value for _, value in res.collect()] == [4, 64]
    seen = {}
    end = time.monotonic() + WAIT
    while len(seen) < 2 and time.monotonic() < end:
        seen = {result.id: value for result, value in res.collect(intermediate=True)}
    assert sorted(seen.values()) == [4, 64]
    s = add.s(2, 2)
    s.link(mul.s(4))
    s.link(tasks.log_result.s())
    res = s.delay()
    until(lambda: (4,) in tasks.heard)
    assert res.children[0].get(timeout=WAIT) == 16


def test_errbacks(tasks: Tasks, app: Umbel, running: Any) -> None:
    running(app)
    first = tasks.fail.s(2, 2).on_error(tasks.log_error.s()).delay()
    second = tasks.fail.apply_async((2, 2), link_error=tasks.log_error.s())
    third = tasks.fail.apply_async((2, 2), link_error=tasks.old_errback.s())
    until(lambda: len(tasks.heard) == 3)
    by_id = dict(entry for entry in tasks.heard if isinstance(entry, tuple))
    assert {task_id: repr(error) for task_id, error in by_id.items()} == dict.fromkeys(
        (first.id, second.id), "ValueError('something something')"
    )
    assert third.id in tasks.heard


def test_chains(tasks: Tasks, app: Umbel, running: Any) -> None:
    add, mul = tasks.add, tasks.mul
    running(app)
    assert chain(add.s(2, 2), add.s(4), add.s(8))().get(timeout=WAIT) == 16
    assert (add.s(2, 2) | add.s(4) | add.s(8))().get(timeout=WAIT) == 16
    res = (add.si(2, 2) | add.si(4, 4) | add.si(8, 8))()
    assert [res.get(timeout=WAIT), res.parent.get(WAIT), res.parent.parent.get(WAIT)] == [16, 8, 4]
    c1 = add.s(4) | mul.s(8)
    assert c1(16).get(timeout=WAIT) == 160
    res = chain(add.s(4, 4), mul.s(8), mul.s(10))()
    assert [res.get(timeout=WAIT), res.parent.get(WAIT), res.parent.parent.get(WAIT)] == [640, 64, 8]
    assert (add.s(4, 4) | mul.s(8) | mul.s(10)).apply_async().get(timeout=WAIT) == 640
    assert [value for _, value in res.parent.parent.collect()] == [8, 64, 640]
    failed = (add.s(2, 2) | tasks.fail.s() | add.s(1)).on_error(tasks.log_error.s()).delay()
    with pytest.raises(ValueError, match="something something"):
        failed.get(timeout=WAIT)
    until(lambda: tasks.heard)
    assert [task_id for task_id, _ in tasks.heard] == [failed.parent.id]


def test_graphs(tasks: Tasks, app: Umbel, running: Any) -> None:
    running(app)
    res = chain(tasks.add.s(4, 4), tasks.mul.s(8), tasks.mul.s(10))()
    assert res.get(timeout=WAIT) == 640
    first, second, third = res.parent.parent.id, res.parent.id, res.id
    graph = res.parent.parent.graph
    expected = celery.utils.graph.DependencyGraph(list(graph.items()))
    assert repr(graph) == repr(expected)
    assert repr(graph).splitlines()[0] == f"{first}(2)"
    drawn = io.StringIO()
    res.parent.parent.graph.to_dot(drawn)
    assert "digraph" in drawn.getvalue()
    for one, other in ((first, second), (second, third)):
        assert re.search(f'"{one}" -> "{other}"', drawn.getvalue())


def test_groups(tasks: Tasks, app: Umbel, running: Any) -> None:
    add = tasks.add
    running(app)
    assert group(add.s(i, i) for i in range(10))().get(timeout=WAIT) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    g = group(add.s(2, 2), add.s(4, 4))
    assert g().get(timeout=WAIT) == [4, 8]
    assert group([add.s(2, 2), add.s(4, 4)])().get(timeout=WAIT) == [4, 8]
    job = group([add.s(2, 2), add.s(4, 4), add.s(8, 8), add.s(16, 16), add.s(32, 32)])
    result = job.apply_async()
    assert result.get(timeout=WAIT) == result.join(timeout=WAIT) == [4, 8, 16, 32, 64]
    assert result.ready() and result.successful()
    assert not result.failed() and not result.waiting()
    assert result.completed_count() == 5
    result.revoke()
    result.save()
    assert GroupResult.restore(result.id, app=app) == app.GroupResult.restore(result.id) == result
    assert group(add.s(i) for i in range(3))(10).get(timeout=WAIT) == [10, 11, 12]
    failing = group(tasks.fail.s(), add.s(1, 1), tasks.fail.s())
    failing.link_error(tasks.log_error.s())
    res = failing()
    until(lambda: len(tasks.heard) == 2)
    assert {task_id for task_id, _ in tasks.heard} == {res[0].id, res[2].id}
    until(res.failed)


def test_groups_in_workflows(tasks: Tasks, app: Umbel, running: Any) -> None:
    add, xsum = tasks.add, tasks.xsum
    running(app)
    new_user_workflow = tasks.create_user.s() | group(tasks.import_contacts.s(), tasks.send_welcome_email.s())
    new_user_workflow.delay(username="artv", first="Art", last="Vandelay", email="art@vandelay.com")
    until(lambda: tasks.heard == [("artv: Art Vandelay <art@vandelay.com>",)] * 2)
    res = (add.s(4, 4) | group(add.si(i, i) for i in range(10)))()
    assert res.get(timeout=WAIT) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    assert res.parent.get(timeout=WAIT) == 8
    c3 = group(add.s(i, i) for i in range(10)) | xsum.s()
    assert c3().get(timeout=WAIT) == 90
    assert chain(add.s(2, 2), group(add.s(1)), add.s(1))().get(timeout=WAIT) == 6


def test_chords(tasks: Tasks, app: Umbel, running: Any) -> None:
    add, tsum = tasks.add, tasks.tsum
    running(app)
    assert chord(add.s(i, i) for i in range(100))(tsum.s()).get(timeout=WAIT) == 9900
    callback = tsum.s()
    header = [add.s(i, i) for i in range(100)]
    assert chord(header)(callback).get(timeout=WAIT) == 9900
    assert chord((add.s(i, i) for i in range(10)), tsum.s())().get(timeout=WAIT) == 90
    chord((tasks.import_contacts.s(c) for c in "abc"), tasks.notify_complete.si("import 1")).apply_async()
    until(lambda: ("import 1",) in tasks.heard)
    assert sorted(tasks.heard[:3]) == [("a",), ("b",), ("c",)]


def test_errors_of_chords(tasks: Tasks, app: Umbel, running: Any) -> None:
    add, fail, tsum = tasks.add, tasks.fail, tasks.tsum
    running(app)
    c = chord([add.s(4, 4), fail.s(), add.s(8, 8)])
    result = c(tsum.s())
    with pytest.raises(ChordError, match=r"ValueError\('something something'"):
        result.get(timeout=WAIT)
    assert result.state == "FAILURE"
    assert str(result.parent[1].id) in str(result.get(propagate=False))
    c = (group([*(add.s(i, i) for i in range(10)), fail.s()]) | tsum.s().on_error(tasks.on_chord_error.s())).delay()
    until(lambda: tasks.heard)
    (heard,) = tasks.heard
    assert heard[0] == c.id and isinstance(heard[1], ChordError)


@pytest.mark.parametrize("allowed", [False, True])
def test_errbacks_of_chord_headers(tasks: Tasks, app: Umbel, running: Any, allowed: bool) -> None:
    app.conf.task_allow_error_cb_on_chord_header = allowed
    running(app)
    flow = chord([tasks.add.s(4, 4), tasks.fail.s()], tasks.tsum.s())
    flow.link_error(tasks.on_chord_error.s())
    result = flow.delay()
    until(lambda: len(tasks.heard) == 1 + allowed)
    with pytest.raises(ChordError):
        result.get(timeout=WAIT)
    heard = {task_id for task_id, _ in tasks.heard}
    assert heard == {result.id, *([result.parent[1].id] if allowed else [])}


def test_map_starmap_and_chunks(tasks: Tasks, app: Umbel, running: Any) -> None:
    add, xsum = tasks.add, tasks.xsum
    running(app)
    assert ~xsum.map([list(range(10)), list(range(100))]) == [45, 4950]
    assert ~add.starmap(zip(range(10), range(10))) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]  # noqa: B905
    later = add.starmap(zip(range(10), range(10))).apply_async(countdown=0.01)  # noqa: B905
    assert later.get(timeout=WAIT) == [0, 2, 4, 6, 8, 10, 12, 14, 16, 18]
    wanted = [[2 * i for i in range(start, start + 10)] for start in range(0, 100, 10)]
    assert add.chunks(zip(range(100), range(100)), 10)().get(timeout=WAIT) == wanted  # noqa: B905
    assert add.chunks(zip(range(100), range(100)), 10).apply_async().get(timeout=WAIT) == wanted  # noqa: B905
    assert add.chunks(zip(range(100), range(100)), 10).group()().get(timeout=WAIT) == wanted  # noqa: B905
    skewed = add.chunks(zip(range(100), range(100)), 10).group()  # noqa: B905
    assert skewed.skew(start=0.01, stop=0.1, step=0.01)().get(timeout=WAIT) == wanted


def test_stamping(tasks: Tasks, app: Umbel, running: Any) -> None:
    add, xsum = tasks.add, tasks.xsum
    app.conf.result_extended = True
    seen: list[Any] = []

    class UUIDStampingVisitor(StampingVisitor):
        def on_signature(self, sig: Any, **headers: Any) -> dict[str, Any]:
            return {"uuid": str(uuid4())}

        def on_callback(self, callback: Any, **header: Any) -> dict[str, Any]:
            return {"on_callback": True}

    @app.task(name="proj.tasks.look", bind=True)
    def look(self: Any, *args: Any) -> None:
        seen.append(dict(self.request.stamps))

    running(app)
    sig1 = add.si(2, 2)
    sig1_res = sig1.freeze()
    g = group(sig1, add.si(3, 3))
    g.stamp(stamp="your_custom_stamp")
    assert g.apply_async().get(timeout=WAIT) == [4, 6]
    assert sig1_res._get_task_meta()["stamp"] in ("your_custom_stamp", ["your_custom_stamp"])
    assert sig1_res._get_task_meta()["stamped_headers"] == ["stamp"]

    sig = add.s(2, 2)
    sig.link(look.s())
    sig.stamp(visitor=UUIDStampingVisitor())
    assert sig.delay().get(timeout=WAIT) == 4
    until(lambda: seen)
    assert seen[0]["on_callback"] is True and len(seen[0]["uuid"]) == 36

    flow = chord([look.si(), look.si()], xsum.si([1]) | look.si())
    flow.stamp(UUIDStampingVisitor())
    flow.delay().get(timeout=WAIT)
    assert len(seen) == 4
    assert len({stamps["uuid"] for stamps in seen}) == 4
