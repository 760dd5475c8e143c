"""The signatures that a task message carries along are checked in form before the task runs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel import Umbel
from umbel.canvas.chain import chain
from umbel.canvas.chord import chord
from umbel.canvas.group import group
from umbel.canvas.signature import Signature
from umbel.model.exceptions import InvalidTaskError
from umbel.wire.embedded import DEEPEST, check_embedded
from umbel.wire.inbound import read_body, upgrade

KINDS = Signature.TYPES
TASK = {"task": "t"}
WHOLE = {"task": "t", "args": [], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": False}


def _linked(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"task": "t"}
    for _ in range(depth):
        found = {"task": "t", "options": {"link": [found]}}
    return found


@pytest.mark.parametrize(
    "value",
    [
        [],
        [TASK],
        [{"task": "t", "args": (1,), "kwargs": None, "options": {}, "subtask_type": None, "immutable": True}],
        [{"task": "t", "options": {"link": TASK, "link_error": [TASK], "chain": [TASK], "chord": TASK}}],
        [{"task": "celery.chain", "subtask_type": "chain", "kwargs": {"tasks": [TASK, TASK]}}],
        [{"task": "celery.group", "subtask_type": "group", "kwargs": {"tasks": []}}],
        [{"task": "celery.chord", "subtask_type": "chord", "kwargs": {"header": [TASK], "body": TASK}}],
        [{"task": "celery.chord", "subtask_type": "chord", "kwargs": {"header": TASK, "body": None}}],
        [{"task": "nobody.here.knows"}],
        [_linked(DEEPEST - 1)],
    ],
)
def test_signatures_pass(value: Any) -> None:
    for name in ("callbacks", "errbacks", "chain"):
        check_embedded({name: value}, KINDS)
    for member in value:
        check_embedded({"chord": member}, KINDS)


def test_whatever_the_canvas_makes_passes(app: Umbel) -> None:
    @app.task
    def add(x: int, y: int) -> int:
        return x + y

    made = [
        add.s(1),
        chain(add.s(1, 2), add.s(3), group(add.s(4), add.s(5))),
        chord([add.s(1, 1), chain(add.s(1, 1), add.s(2))], add.si(2, 2)),
        add.map([1, 2]),
        add.starmap([(1, 2)]),
        add.chunks([(1, 2)], 1),
        add.s(1).on_error(add.s(2)),
    ]
    check_embedded({"callbacks": made, "errbacks": made, "chain": made}, KINDS)


@pytest.mark.parametrize(
    "value",
    [
        *(5, "x", True, "", {}, TASK, [5], ["x"], [None], [[]], [{}], [{"task": 5}], [{"task": ""}]),
        [{"task": "t", "args": 5}],
        [{"task": "t", "kwargs": []}],
        [{"task": "t", "options": "x"}],
        [{"task": "t", "subtask_type": 5}],
        [{"task": "t", "subtask_type": "nobody"}],
        [{"task": "t", "options": {"link": [5]}}],
        [{"task": "t", "options": {"link_error": 5}}],
        [{"task": "t", "options": {"chain": "x"}}],
        [{"task": "t", "options": {"chord": 5}}],
        [{"task": "t", "subtask_type": "chain", "kwargs": {"tasks": [TASK, 5]}}],
        [{"task": "t", "subtask_type": "group", "kwargs": {"tasks": 5}}],
        [{"task": "t", "subtask_type": "chord", "kwargs": {"header": [5]}}],
        [{"task": "t", "subtask_type": "chord", "kwargs": {"header": [TASK], "body": 5}}],
        [WHOLE, {**WHOLE, "task": ""}],
        *([WHOLE, {**WHOLE, "options": {name: 5}}] for name in ("link", "link_error", "chain", "chord")),
        [_linked(DEEPEST)],
        [_linked(2_000)],
    ],
)
@pytest.mark.parametrize("name", ["callbacks", "errbacks", "chain"])
def test_what_is_no_signature_is_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidTaskError, match=f"a task's {name}: ") as caught:
        read_body([[], {}, {name: value}], KINDS)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("value", [5, "x", True, [], [TASK], {"task": 5}, {"task": "t", "args": "x"}])
def test_a_chord_that_is_no_signature_is_refused(value: Any) -> None:
    with pytest.raises(InvalidTaskError, match="a task's chord: "):
        read_body([[], {}, {"chord": value}], KINDS)


@pytest.mark.parametrize("body", [None, 5, "x", [], [[]], [[], {}], [[], {}, {}, {}], ["x", {}, {}], [[], [], {}]])
def test_a_body_that_is_none(body: Any) -> None:
    with pytest.raises(InvalidTaskError, match="a task's "):
        read_body(body)


@pytest.mark.parametrize(
    ("changed", "args", "kwargs", "retries"),
    [
        ({}, [], {}, 0),
        ({"args": None, "kwargs": None, "retries": None}, [], {}, 0),
        ({"args": [1], "kwargs": {"a": 1}, "retries": 3}, [1], {"a": 1}, 3),
        ({"args": 0, "kwargs": "", "retries": ""}, 0, "", ""),
    ],
)
def test_protocol_1_is_taken_over_as_it_is(changed: Any, args: Any, kwargs: Any, retries: Any) -> None:
    headers, body = upgrade({"task": "t", "id": "1", **changed}, {"x": 1})
    assert (headers["task"], headers["id"], headers["x"], headers["retries"]) == ("t", "1", 1, retries)
    assert body[:2] == [args, kwargs]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "task",
                    "args",
                    "kwargs",
                    "options",
                    "subtask_type",
                    "link",
                    "link_error",
                    "chain",
                    "chord",
                    "tasks",
                    "header",
                    "body",
                    "callbacks",
                    "errbacks",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_nothing_else_is_raised(value: Any) -> None:
    for read in (
        lambda: read_body(value, KINDS),
        lambda: read_body([[], {}, value], KINDS),
        lambda: upgrade(value, {}),
    ):
        try:
            read()
        except InvalidTaskError as error:
            assert len(str(error)) < 1000
