"""Workflows put together at random, run, and compared with a plain evaluation of what the guide says of them.

Every task returns its name with its arguments, so a value tells the whole way that it has come.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from tests.canvas.conftest import Work
from umbel.canvas import chain, chord, group
from umbel.model.exceptions import ChordError

# What a workflow is made of


@dataclass
class Call:
    """One task: ``kind`` is what it does; ``own`` its partial arguments; ``inner`` what takes its place."""

    kind: str = "tag"
    immutable: bool = False
    own: int = 0
    errback: str = ""
    linked: bool = False
    inner: Any = None
    hands_on: bool = False
    tag: str = ""


@dataclass
class Items:
    """A map, a starmap or chunks of some items, one of which may make it fail."""

    kind: str
    count: int
    size: int = 2
    failing: int = -1
    errback: str = ""
    tag: str = ""


@dataclass
class Several:
    """A chain, group or chord of parts, written in a certain style."""

    kind: str
    parts: list[Any]
    style: str
    body: Any = None
    errback: str = ""
    linked: bool = False
    immutable: bool = False
    tag: str = ""


def named(part: Any, counter: list[int]) -> Any:
    """Give each part a name of its own."""
    counter[0] += 1
    part.tag = f"<{counter[0]}>"
    for inner in [*getattr(part, "parts", ()), getattr(part, "body", None), getattr(part, "inner", None)]:
        if inner is not None:
            named(inner, counter)
    return part


ERRBACKS = st.sampled_from(["", "", "", "old", "new"])
RARELY = st.sampled_from([False, False, False, True])


def calls(replacing: int) -> st.SearchStrategy[Any]:
    kinds = st.sampled_from(["tag", "tag", "tag", "fail", "again"])
    plain = st.builds(Call, kinds, RARELY, st.integers(0, 1), ERRBACKS, RARELY)
    if not replacing:
        return plain
    becoming = st.builds(
        Call, st.just("become"), RARELY, st.just(0), ERRBACKS, RARELY,
        flows(2, replacing - 1).filter(not_nothing), st.booleans(),
    )  # fmt: skip
    return st.one_of(plain, plain, becoming)


def items() -> st.SearchStrategy[Any]:
    return st.builds(
        Items, st.sampled_from(["map", "starmap", "chunks"]), st.integers(0, 3), st.integers(1, 3),
        st.sampled_from([-1, -1, 0, 1]), ERRBACKS,
    )  # fmt: skip


@st.composite
def flows(draw: st.DrawFn, depth: int, replacing: int = 1) -> Any:
    """Workflows that nest so deeply."""
    kind = draw(st.sampled_from(["task", "task", "chain", "chain", "group", "group", "chord"] if depth else ["task"]))
    if kind == "task":
        return draw(st.one_of(calls(replacing), calls(replacing), calls(replacing), items()))
    parts = [draw(flows(depth - 1, replacing)) for _ in range(draw(st.integers(0, 3)))]
    body = draw(flows(depth - 1, replacing).filter(not_nothing)) if kind == "chord" else None
    style = draw(st.sampled_from(["arguments", "list", "generator", "pipe", "options"]))
    return Several(kind, parts, style, body, draw(ERRBACKS), draw(RARELY), draw(RARELY))


def not_nothing(part: Any) -> bool:
    return bool(plan(part).steps) and not is_nothing(part)


def is_nothing(part: Any) -> bool:
    """Whether it is a group or chain in which there is nothing at all."""
    return isinstance(part, Several) and part.kind != "chord" and all(is_nothing(inner) for inner in part.parts)


# What the guide says: a workflow is a row of steps, each one task or many rows side by side


@dataclass
class Run:
    call: Any
    values: list[Any] = field(default_factory=list)
    errbacks: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    immutable: bool = False


@dataclass
class Many:
    members: list[Plan]


@dataclass
class Plan:
    """Steps; ``bare`` when they are a group that another group takes up into itself."""

    steps: list[Any]
    bare: bool = False

    def many_at_end(self) -> bool:
        return bool(self.steps) and isinstance(self.steps[-1], Many)

    def link_error(self, errback: str) -> None:
        """To each step; to the members of a group only when nothing follows it."""
        for step in self.steps:
            if isinstance(step, Run):
                if errback not in step.errbacks:
                    step.errbacks.append(errback)
            elif step is self.steps[-1]:
                for member in step.members:
                    member.link_error(errback)

    def set_immutable(self) -> None:
        if self.steps and isinstance(self.steps[0], Run):
            self.steps[0].immutable = True
        elif self.steps:
            for member in self.steps[0].members:
                member.set_immutable()


def plan(part: Any) -> Plan:
    """The steps of a workflow."""
    if isinstance(part, Call):
        made = Plan([Run(part, immutable=part.immutable, links=[f"link{part.tag}"] if part.linked else [])])
    elif isinstance(part, Items):
        rows = rows_of(part)
        size = part.size if part.kind == "chunks" else len(rows) or 1
        parcels = [rows[at : at + size] for at in range(0, len(rows), size)]
        if part.kind == "chunks":
            made = Plan([Many([Plan([Run(part, parcel, immutable=True)]) for parcel in parcels])], bare=True)
        else:
            made = Plan([Run(part, rows, immutable=True)])
    elif part.kind == "group":
        made = Plan([many(part.parts)], bare=True)
    elif part.kind == "chord":
        piped = part.style == "pipe" and not all(map(is_nothing, part.parts))
        made = Plan([many(part.parts), *(unrolled(part.body) if piped else plan(part.body)).steps])
    else:
        made = in_row(part)
    if part.errback:
        made.link_error(f"{part.errback}{part.tag}")
    if isinstance(part, Several):
        if part.linked and part.kind != "group" and made.steps and not made.many_at_end():
            made.steps[-1].links.append(f"link{part.tag}")
        if part.immutable:
            made.set_immutable()
    return made


def rows_of(part: Items) -> list[str]:
    return [f"{'broken' if index == part.failing else 'item'}{part.tag}{index}" for index in range(part.count)]


def many(parts: list[Any]) -> Many:
    members: list[Plan] = []
    for part in parts:
        inner = plan(part)
        if inner.bare:
            members += inner.steps[0].members
        elif not is_nothing(part):
            members.append(inner)
    return Many(members)


def in_row(part: Several) -> Plan:
    present = [inner for inner in part.parts if not is_nothing(inner)]
    # "group | task" is a chord, also of a group of one; anywhere else in a chain such a group is its one task.
    as_it_is = present[0] if part.style == "pipe" and present and part.parts[0] is present[0] else None
    if as_it_is is not None and len(present) == 1:
        return plan(as_it_is)
    made = [plan(inner) if inner is as_it_is else unrolled(inner) for inner in present]
    kept = part.style == "options" or (part.style == "arguments" and len(part.parts) == 1)
    bare = len(made) == 1 and made[0].bare and isinstance(present[0], Several) and not kept
    return Plan([step for each in made for step in each.steps], bare)


def unrolled(part: Any) -> Plan:
    """A group of one task, however nested, as its task; chunks are a list also when there is one parcel."""
    made, inner = plan(part), part
    while isinstance(inner, Several) and plan(inner).bare:
        present = [each for each in inner.parts if not is_nothing(each)]
        if len(present) != 1:
            return made
        (inner,) = present
    return made if inner is part or plan(inner).bare else Plan(made.steps[0].members[0].steps)


class Failed(Exception):
    """A task failed, or a chord whose header did; ``tag`` says which task was the first to."""

    def __init__(self, kind: type[Exception], tag: str) -> None:
        super().__init__(kind.__name__, tag)
        self.kind = kind
        self.tag = tag


Log = Counter[tuple[str, str]]


def run(steps: list[Any], given: list[Any], log: Log) -> Any:
    """The value of some steps; where a group ends them a list, in which errors stand in their places."""
    value: Any = None
    for index, step in enumerate(steps):
        rest = steps[index + 1 :]
        if isinstance(step, Run):
            value = run_one(step, given, log)
        elif not rest:
            return [attempt(member.steps, given, log) for member in step.members]
        else:
            value = [attempt(as_one(member).steps, given, log) for member in step.members]
            failed = next((each for each in value if isinstance(each, Failed)), None)
            if failed is not None:
                for errback in errbacks_of(rest):
                    call_errback(errback, ChordError, log)
                raise Failed(ChordError, failed.tag)
        given = [value]
    return value


def attempt(steps: list[Any], given: list[Any], log: Log) -> Any:
    try:
        return run(steps, given, log)
    except Failed as failed:
        return failed


def as_one(made: Plan) -> Plan:
    """With a step that gathers, after a group at the end, so that all of it has one value."""
    return Plan([*made.steps, Run(Call("gather"))]) if made.many_at_end() else made


def errbacks_of(steps: list[Any]) -> list[str]:
    """The errbacks of what cannot begin, each once."""
    step, *rest = steps
    if isinstance(step, Run):
        return step.errbacks
    if rest:
        return errbacks_of(rest)
    return list(dict.fromkeys(errback for member in step.members for errback in errbacks_of(member.steps)))


def call_errback(errback: str, kind: type[Exception], log: Log) -> None:
    log[errback, kind.__name__ if errback.startswith("new") else ""] += 1


def run_one(step: Run, given: list[Any], log: Log) -> Any:
    given = [] if step.immutable else given
    if isinstance(step.call, Call) and step.call.kind == "become":
        inner = as_one(plan(step.call.inner))
        for errback in step.errbacks:
            inner.link_error(errback)
        inner.steps[-1].links += step.links
        return run(inner.steps, given if step.call.hands_on else [], log)
    try:
        value = value_of(step, given)
    except Failed as failed:
        for errback in step.errbacks:
            call_errback(errback, failed.kind, log)
        raise
    for link in step.links:
        log[link, json.dumps(value)] += 1
    return value


def value_of(step: Run, given: list[Any]) -> Any:
    call = step.call
    if isinstance(call, Items):
        broken = next((value for value in step.values if value.startswith("broken")), None)
        if broken is not None:
            raise Failed(ValueError, broken)
        return [["one", value] for value in step.values]
    if call.kind == "gather":
        return given[0]
    if call.kind == "fail":
        raise Failed(ValueError, call.tag)
    return [call.tag, *given, *range(call.own)]


# The same as signatures


def build(app: Any, part: Any) -> Any:
    """The signature of a workflow."""
    made = build_plain(app, part)
    if isinstance(part, Several) and not is_nothing(part):
        if part.linked and part.kind != "group" and not plan(part).many_at_end():
            made.link(app.tasks["link"].s(tag=f"link{part.tag}"))
        if part.immutable:
            made.set(immutable=True)
    elif isinstance(part, Call) and part.linked:
        made.link(app.tasks["link"].s(tag=f"link{part.tag}"))
    if part.errback:
        made = made.on_error(app.tasks[part.errback].s(tag=f"{part.errback}{part.tag}"))
    return made


def build_plain(app: Any, part: Any) -> Any:
    if isinstance(part, Call):
        more = {}
        if part.kind == "become":
            more = {"sig": build(app, part.inner), "hands_on": part.hands_on}
        made = app.tasks[part.kind].s(*range(part.own), tag=part.tag, **more)
        return made.set(immutable=True) if part.immutable else made
    if isinstance(part, Items):
        one, rows = app.tasks["one"], rows_of(part)
        if part.kind == "chunks":
            return one.chunks(((row,) for row in rows), part.size)
        return one.map(iter(rows)) if part.kind == "map" else one.starmap([(row,) for row in rows])
    parts: Any = [build(app, inner) for inner in part.parts]
    if part.kind == "chord":
        body = build(app, part.body)
        if part.style == "pipe":
            return (
                chord(group(parts, app=app), body, app=app) if all(map(is_nothing, part.parts)) else group(parts) | body
            )
        return chord((each for each in parts) if part.style == "generator" else parts, body, app=app)
    if part.kind == "chain" and part.style == "pipe" and parts:
        made, *following = parts
        for each in following:
            made = made | each
        return made
    if part.kind == "chain" and part.style == "options":
        return chain(parts, app=app, priority=0)
    make = chain if part.kind == "chain" else group
    if part.style == "arguments" and parts:
        return make(*parts)
    return make(each for each in parts) if part.style == "generator" else make(parts)


def agree(found: Any, expected: Any) -> bool:
    """Whether a value is the expected one. A failure that a group did not survive is that of each member."""
    if isinstance(expected, Failed):
        if isinstance(found, list):
            return all(agree(each, expected) for each in found)
        return isinstance(found, expected.kind) and expected.tag in str(found)
    if isinstance(expected, list):
        return isinstance(found, list) and len(found) == len(expected) and all(map(agree, found, expected))
    return bool(found == expected)


def check(app: Any, part: Any, given: list[Any], way: str, work: Callable[[Log], Any], patience: float = 0) -> None:
    """Run a workflow, and compare all that is seen of it with what is expected."""
    named(part, [0])
    expected_log: Log = Counter()
    made = plan(part)
    expected = attempt(made.steps, given, expected_log)
    app.told.clear()
    sig = build(app, part)
    note(f"{sig!r}")
    if way == "as data":
        sig = app.signature(json.loads(json.dumps(sig)))
    frozen = sig.freeze() if way == "frozen" and made.steps else None
    result = sig.delay(*given)
    if frozen is not None:
        result = frozen
    work(expected_log)
    assert Counter(app.told) == expected_log
    if not made.steps:
        assert result is None or result.get(timeout=0) == []
        return
    if made.bare and frozen is None and len(made.steps[0].members) == 1 and made.steps[0].members[0].many_at_end():
        # The result of a group of one chain that ends in a group is that group's, as Celery has it.
        (expected,) = expected
    found = result.get(timeout=patience, propagate=False)
    assert agree(found, expected), f"{found} is not {expected}"
    while (result := result.parent) is not None:
        # What was to run before it has ended too.
        result.get(timeout=patience, propagate=False)


GIVEN = st.sampled_from([[], ["given"]])
WAYS = st.sampled_from(["as it is", "as data", "frozen"])


def examples(count: int) -> Any:
    """Tries so many; an app lasts for all of them, since each leaves nothing in its queue."""
    loose = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(max_examples=count, deadline=None, suppress_health_check=loose)


@examples(100)
@given(part=flows(2), given=GIVEN, way=WAYS)
def test_any_workflow(telling: Any, part: Any, given: list[Any], way: str) -> None:
    check(telling, part, given, way, lambda log: Work(telling)())


@pytest.mark.slow
@pytest.mark.timeout(1200)
@examples(1000)
@given(part=flows(4, replacing=2), given=GIVEN, way=WAYS)
def test_any_workflow_however_nested(telling: Any, part: Any, given: list[Any], way: str) -> None:
    check(telling, part, given, way, lambda log: Work(telling)())


@pytest.mark.parametrize("telling", ["redis", "polled"], indirect=True)
@examples(20)
@given(part=flows(2), given=GIVEN, way=WAYS)
def test_any_workflow_on_another_store(telling: Any, part: Any, given: list[Any], way: str) -> None:
    check(telling, part, given, way, lambda log: Work(telling)())


@examples(40)
@given(part=flows(2), given=GIVEN, way=WAYS.filter(lambda way: way != "frozen"))
def test_any_workflow_eagerly(telling: Any, part: Any, given: list[Any], way: str) -> None:
    telling.conf.task_always_eager = True
    check(telling, part, given, way, lambda log: None)


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("telling", ["redis", "amqp"], indirect=True)
def test_any_workflow_by_a_worker(telling: Any, running: Any) -> None:
    def wait(log: Log) -> None:
        end = time.monotonic() + 60
        while len(telling.told) < log.total() and time.monotonic() < end:
            time.sleep(0.002)

    @examples(100)
    @given(part=flows(3), given=GIVEN, way=WAYS)
    def try_all(part: Any, given: list[Any], way: str) -> None:
        check(telling, part, given, way, wait, 60)

    running(telling, concurrency=4)
    try_all()
