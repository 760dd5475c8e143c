"""Stamps: those of real Celery for the same workflow and visitor, on the wire, in requests, retries and results."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Callable
from typing import Any

import pytest

from umbel.canvas import StampingVisitor, chain, chord, group, signature

celery = pytest.importorskip("celery")


class Ours:
    chain, chord, group, StampingVisitor = chain, chord, group, StampingVisitor


class Theirs:
    chain, chord, group, StampingVisitor = celery.chain, celery.chord, celery.group, celery.canvas.StampingVisitor


def linked(sig: Any, *callbacks: Any, errback: Any = None) -> Any:
    for callback in callbacks:
        sig.link(callback)
    if errback is not None:
        sig.link_error(errback)
    return sig


FLOWS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "plain": lambda kit, add, total: add.s(1, 2),
    "links": lambda kit, add, total: linked(add.s(1, 2), add.s(1), add.s(2), errback=total.si()),
    "chain": lambda kit, add, total: add.s(1, 2) | add.s(3) | add.s(4),
    "chain with a link": lambda kit, add, total: linked(add.s(1, 2) | add.s(3), add.s(4), errback=total.si()),
    "group": lambda kit, add, total: kit.group([add.s(1, 2), add.s(3, 4)]),
    "chord": lambda kit, add, total: linked(kit.chord([add.s(1, 2), add.s(3, 4)], total.s()), add.s(5)),
    "task | group | task": lambda kit, add, total: add.s(1, 2) | kit.group([add.s(3), add.s(4)]) | total.s(),
    "nested": lambda kit, add, total: kit.group(
        [add.s(1, 2) | add.s(3), kit.group([add.s(1, 1)]), kit.chord([add.s(1, 1)], total.s() | add.s(1))]
    ),
    "map": lambda kit, add, total: add.map([1, 2]),
}


def constant(kit: Any) -> Any:
    class Constant(kit.StampingVisitor):  # type: ignore[misc]
        def on_signature(self, sig: Any, **headers: Any) -> Any:
            return {"who": "me", "aside": 1, "stamped_headers": ["who"]}

    return Constant()


def counting(kit: Any) -> Any:
    """A visitor whose stamps tell in which order it was called, with what."""
    numbers = itertools.count()

    class Counting(kit.StampingVisitor):  # type: ignore[misc]
        def on_signature(self, sig: Any, **headers: Any) -> Any:
            return {"of_sig": f"{next(numbers)} {sig.task}"}

        def on_group_start(self, group: Any, **headers: Any) -> Any:
            return {"of_group": f"{next(numbers)} of {len(group.tasks)}"}

        def on_group_end(self, group: Any, **headers: Any) -> None:
            next(numbers)

        def on_chain_start(self, chain: Any, **headers: Any) -> Any:
            return {"of_chain": f"{next(numbers)} of {len(chain.tasks)}"}

        def on_chain_end(self, chain: Any, **headers: Any) -> None:
            next(numbers)

        def on_chord_header_start(self, sig: Any, **headers: Any) -> Any:
            if not isinstance(sig.tasks, kit.group):
                sig.tasks = kit.group(sig.tasks)
            return {"of_header": next(numbers), **super().on_chord_header_start(sig, **headers)}

        def on_chord_body(self, sig: Any, **headers: Any) -> Any:
            return {"of_body": next(numbers)}

        def on_callback(self, callback: Any, **headers: Any) -> Any:
            return {"of_callback": next(numbers)}

        def on_errback(self, errback: Any, **headers: Any) -> Any:
            return {"of_errback": next(numbers)}

    return Counting()


def same_name(kit: Any) -> Any:
    """A visitor that says something else of the same stamp everywhere."""
    numbers = itertools.count()

    class SameName(kit.StampingVisitor):  # type: ignore[misc]
        def on_signature(self, sig: Any, **headers: Any) -> Any:
            return {"id": f"signature {next(numbers)}"}

        def on_group_start(self, group: Any, **headers: Any) -> Any:
            return {"id": f"group {next(numbers)}"}

        def on_chain_start(self, chain: Any, **headers: Any) -> Any:
            return {"id": f"chain {next(numbers)}"}

        def on_callback(self, callback: Any, **headers: Any) -> Any:
            return {"id": f"callback {next(numbers)}"}

    return SameName()


def silent(kit: Any) -> Any:
    class Silent(kit.StampingVisitor):  # type: ignore[misc]
        def on_signature(self, sig: Any, **headers: Any) -> Any:
            return None

    return Silent()


VISITORS: dict[str, Any] = {
    "none": lambda kit: None,
    "constant": constant,
    "counting": counting,
    "same name": same_name,
    "silent": silent,
}


def comparable(sig: Any) -> Any:
    """As data; the header of a chord as a list, and of the names of stamps those that have a value.

    Celery hands names on from a task to the tasks beside it, without values, and then cannot send them.
    """

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return [walk(member) for member in value]
        if not isinstance(value, dict):
            return value
        found = {name: walk(member) for name, member in value.items()}
        if "stamped_headers" in found:
            found["stamped_headers"] = sorted(name for name in found["stamped_headers"] if name in found)
        if isinstance(found.get("header"), dict):
            found["header"] = found["header"]["kwargs"]["tasks"]
        return found

    return walk(json.loads(json.dumps(sig)))


def made(kit: Any, app: Any, name: str) -> Any:
    return FLOWS[name](kit, app.tasks["tasks.add"], app.tasks["tasks.total"])


@pytest.mark.parametrize("append", [False, True], ids=["first", "append"])
@pytest.mark.parametrize("visitor", VISITORS)
@pytest.mark.parametrize("name", FLOWS)
def test_a_workflow_gets_the_stamps_that_celery_gives_it(
    app: Any, theirs: Any, name: str, visitor: str, append: bool
) -> None:
    for before, headers in itertools.product(({}, {"id": "before", "x": 5}), ({}, {"id": "given"}, {"y": ["list"]})):
        our_flow, their_flow = made(Ours, app, name), made(Theirs, theirs, name)
        if before:
            our_flow.stamp(**before)
            their_flow.stamp(**before)
        their_flow.stamp(VISITORS[visitor](Theirs), append_stamps=append, **copy.deepcopy(headers))
        our_flow.stamp(VISITORS[visitor](Ours), append_stamps=append, **copy.deepcopy(headers))
        assert comparable(our_flow) == comparable(their_flow)


def stamps_of(headers: dict[str, Any]) -> Any:
    return headers["task"], sorted(headers["stamped_headers"] or ()), headers["stamps"]


@pytest.mark.parametrize("visitor", ["constant", "counting"])
@pytest.mark.parametrize("name", ["plain", "links", "chain", "group", "chord", "task | group | task", "map"])
def test_a_stamped_workflow_is_sent_with_the_headers_that_celery_sends(
    app: Any, theirs: Any, work: Any, messages_of: Any, name: str, visitor: str
) -> None:
    flow = made(Theirs, theirs, name)
    flow.stamp(VISITORS[visitor](Theirs))
    expected = [stamps_of(headers) for headers, _ in messages_of(flow)]
    made(Ours, app, name).stamp(VISITORS[visitor](Ours)).apply_async()
    work()
    assert [stamps_of(headers) for headers in work.headers[: len(expected)]] == expected


def test_every_task_of_a_workflow_runs_with_its_stamps(app: Any, work: Any) -> None:
    flow = app.add.s(1, 2) | group(app.add.s(3), app.add.s(4)) | linked(app.total.s(), app.note.s())
    flow.stamp(constant(Ours), tenant="t1")
    result = flow.apply_async()
    assert sorted(work()) == ["tasks.add", "tasks.add", "tasks.add", "tasks.note", "tasks.total"]
    assert result.get(timeout=0) == 13
    assert {json.dumps(headers["stamps"], sort_keys=True) for headers in work.headers} == {
        '{"tenant": "t1", "who": "me"}'
    }


def test_what_a_visitor_says_of_one_task_stays_with_it(app: Any) -> None:
    class Odd(StampingVisitor):
        def on_signature(self, sig: Any, **headers: Any) -> Any:
            return {"odd": True, "places": [sig.args[0]]} if sig.args[0] % 2 else None

        def on_group_start(self, group: Any, **headers: Any) -> Any:
            return {"places": ["group"]}

    flow = group(app.add.s(number, 0) for number in range(4)).stamp(Odd())
    assert [task.options.get("odd") for task in flow.tasks] == [None, True, None, True]
    assert [task.options["places"] for task in flow.tasks] == [["group"], ["group", 1], ["group"], ["group", 3]]


def test_links_can_be_stamped_alone_also_those_that_came_as_data(app: Any) -> None:
    sig = app.add.signature((1, 2), link=[json.loads(json.dumps(app.add.s(1)))], link_error=app.note.si())
    sig.stamp_links(None, tenant="t1")
    assert "tenant" not in sig.options
    assert [sig.options[name][0]["options"]["tenant"] for name in ("link", "link_error")] == ["t1", "t1"]


def test_stamps_are_not_written_over(app: Any) -> None:
    sig = app.add.s(1).stamp(tenant="t1")
    assert sig.clone(tenant="t2", queue="q").options == {"tenant": "t1", "stamped_headers": ["tenant"], "queue": "q"}
    assert sig.stamp(tenant="t2").options["tenant"] == "t2"
    assert sig.stamp(append_stamps=True, tenant="t3").options["tenant"] == ["t3", "t2"]


def test_a_task_sees_its_stamps_and_a_retry_keeps_them(app: Any, work: Any) -> None:
    seen: list[Any] = []

    @app.task(name="tasks.again", bind=True, default_retry_delay=0)  # type: ignore[untyped-decorator]
    def again(self: Any) -> None:
        seen.append((self.request.retries, self.request.stamped_headers, self.request.stamps))
        if self.request.retries < 2:
            raise self.retry()

    again.s().stamp(tenant="t1").delay()
    work()
    assert seen == [(retries, ["tenant"], {"tenant": "t1"}) for retries in range(3)]
    seen.clear()
    again.s().stamp(tenant="t2").apply()
    assert seen == [(retries, ["tenant"], {"tenant": "t2"}) for retries in range(3)]


def test_as_in_celery_what_a_task_sends_has_its_own_stamps_only(app: Any, work: Any) -> None:
    @app.task(name="tasks.parent")  # type: ignore[untyped-decorator]
    def parent() -> None:
        app.add.delay(1, 2)
        app.add.s(1, 2).stamp(own=1).delay()

    linked(parent.s().stamp(tenant="t1"), app.note.s()).delay()
    assert work() == ["tasks.parent", "tasks.add", "tasks.add", "tasks.note"]
    assert [headers["stamps"] for headers in work.headers] == [{"tenant": "t1"}, {}, {"own": 1}, {}]


def test_what_replaces_a_task_can_be_stamped_on_the_way(app: Any, work: Any) -> None:
    class Stamping(app.Task):  # type: ignore[misc,name-defined]
        def on_replace(self, sig: Any) -> Any:
            return super().on_replace(sig.stamp(**self.request.stamps))

    @app.task(name="tasks.replaced", bind=True, base=Stamping)  # type: ignore[untyped-decorator]
    def replaced(self: Any) -> Any:
        raise self.replace(app.add.s(1, 1) | app.add.s(1))

    result = replaced.s().stamp(tenant="t1").delay()
    assert work() == ["tasks.replaced", "tasks.add", "tasks.add"]
    assert result.get(timeout=0) == 3
    assert [headers["stamps"] for headers in work.headers] == [{"tenant": "t1"}] * 3


def test_an_extended_result_knows_the_stamps(app: Any, work: Any) -> None:
    app.conf.result_extended = True
    result = app.add.s(1, 2).stamp(tenant="t1").delay()
    work()
    meta = result._get_task_meta()
    assert (meta["stamped_headers"], meta["tenant"]) == (["tenant"], "t1")


def test_a_signature_that_celery_stamped_runs_here(app: Any, theirs: Any, work: Any) -> None:
    flow = made(Theirs, theirs, "task | group | task")
    flow.stamp(counting(Theirs))
    result = signature(json.loads(json.dumps(flow)), app=app).delay()
    work()
    assert result.get(timeout=0) == 13
    assert all("of_sig" in headers["stamps"] for headers in work.headers)
