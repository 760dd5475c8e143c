"""The headers of task messages as they come in: each of the wrong type or out of bounds is refused, with its name."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umbel.model.exceptions import InvalidTaskError
from umbel.wire.headers import LONGEST_ID, check_headers, is_id
from umbel.wire.task_message import header_template

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=8,
)


def _headers(**changed: Any) -> dict[str, Any]:
    return {**header_template("tasks.add", "gen1@here"), "id": "i", "root_id": "i", **changed}


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"lang": None, "origin": None, "argsrepr": None},
        {"retries": None},
        {"retries": 2**31 - 1},
        {"timelimit": None},
        {"timelimit": (10, 5.5)},
        {"timelimit": [0, None]},
        {"eta": datetime(2030, 1, 1, tzinfo=UTC)},
        {"eta": 1_700_000_000, "expires": 1.5},
        {"root_id": "é", "parent_id": "p", "group": "g", "group_index": 3, "shadow": "another name"},
        {"stamped_headers": ["a"], "stamps": {"a": 1}},
        {"x-own": object(), "y": [1]},
        {"id": "x" * LONGEST_ID},
    ],
)
def test_what_producers_write_passes(changed: dict[str, Any]) -> None:
    check_headers(_headers(**changed))
    check_headers(_headers(**changed))


def test_few_headers_are_enough() -> None:
    check_headers({"task": "t", "id": "1"})


@pytest.mark.parametrize("value", ["", None, 5, True, ["i"], {"i": 1}, "x" * (LONGEST_ID + 1), "a\nb", "\ud800", b"i"])
def test_an_id_that_is_none(value: Any) -> None:
    assert not is_id(value)
    with pytest.raises(InvalidTaskError, match=r"the header 'id' is a printable text"):
        check_headers(_headers(id=value))


def test_a_missing_id() -> None:
    headers = _headers()
    del headers["id"]
    with pytest.raises(InvalidTaskError, match="'id' is missing"):
        check_headers(headers)


WRONG: dict[str, list[Any]] = {
    **{
        name: [5, 1.5, True, ["x"], {"x": 1}, b"x"]
        for name in ("lang", "argsrepr", "kwargsrepr", "origin", "compression")
    },
    **{name: [5, True, [], "a\nb", "x" * 600, "\ud800"] for name in ("root_id", "parent_id", "group", "shadow")},
    **{
        name: ["1", 1.5, True, [1], -1, 2**31, 10**30]
        for name in ("retries", "group_index", "replaced_task_nesting", "umbel-lost")
    },
    "task": [None, 5, [], {}],
    "timelimit": [
        *(5, "60", True, {}, [], [1], [1, 2, 3], ["1", None], [None, True], [-1, None], [None, 1e308]),
        *([float("nan"), None], [None, float("inf")], [[], {}], [10**30, None]),
    ],
    "eta": [True, [], {}, ["x"], b"x"],
    "expires": [True, [], {}, ["x"], b"x"],
    "ignore_result": [1, 0, "yes", [], {}],
    "stamped_headers": [5, "x", {}, [1], [None]],
    "stamps": [5, "x", [], True],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in WRONG.items() for value in values])
def test_each_of_the_wrong_type_is_named(name: str, value: Any) -> None:
    check_headers(_headers())
    with pytest.raises(InvalidTaskError) as caught:
        check_headers(_headers(**{name: value}))
    said = str(caught.value)
    assert repr(name) in said or "time limit" in said
    assert len(said) < 400
    # The last good ones are remembered; the next good ones pass and the next bad ones do not.
    check_headers(_headers())
    with pytest.raises(InvalidTaskError):
        check_headers(_headers(**{name: value}))


def test_a_gigantic_value_is_shown_in_short() -> None:
    with pytest.raises(InvalidTaskError) as caught:
        check_headers(_headers(argsrepr=["x" * 1_000_000] * 100))
    assert len(str(caught.value)) < 400


@given(st.dictionaries(st.sampled_from([*header_template("t", "o"), "compression", "umbel-lost", "other"]), JSON))
def test_nothing_else_is_raised(headers: dict[str, Any]) -> None:
    try:
        check_headers(headers)
    except InvalidTaskError as error:
        assert len(str(error)) < 1000
    else:
        assert is_id(headers["id"])
        json.dumps(headers)
